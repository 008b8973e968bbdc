r"""The gated Transformer-XL (Parisotto et al. 2019, arXiv 1910.06764): attention over a window of the past."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from s7rl.checks import SIZE, check_arguments
from s7rl.cores.base import Core
from s7rl.cores.dense import Linear

QUERIES = 64
"""The least number of queries that attend at once; more where the window is longer."""


class GTrXL(Core):
    r"""One gated layer: relative attention to the last M inputs and the current one, then a two-layer perceptron.

    .. math::
        y_t &= \mathrm{gate}_1(x_t, \mathrm{ReLU}(\mathrm{attention}(n_t; n_{t-M}, \dots, n_t))),
        \qquad n = \mathrm{LayerNorm}(x) \\
        e_t &= \mathrm{gate}_2(y_t, \mathrm{ReLU}(\mathrm{perceptron}(\mathrm{LayerNorm}(y_t))))

    The logit of step t for step s, in each head (Dai et al. 2019, arXiv 1901.02860, section 3.3), is

    .. math:: \bigl((q_t + u)^\top k_s + (q_t + v)^\top W_R\, r_{t-s}\bigr) / \sqrt{d}, \qquad r \text{ sinusoids}

    with q, k and the values linear in n, and no step of another episode takes part.  The gate begins near the identity:
    see :class:`Gate`.  Norms and gates are the layer's own: no residual block stands around it.

    Two things differ from the paper.  Inside a scan the gradient passes through the window, where the paper stops it
    between segments: acting, learning and learning in pieces are the same function.  And a window moves with each step,
    so that every step sees exactly M earlier ones.  Nothing older than M steps per block is remembered.

    The state is [M inputs x, oldest first, 0 where there were none | how many there were].

    Args:
        d_model: H, the width of input and output.
        window: M, how many earlier inputs are seen; the state has M H numbers, a step costs O(M).
        n_heads: how many heads attend.
        d_head: d, the width of each.
        expansion: width of the perceptron's inside in multiples of H.

    Raises:
        TypeError: if a size is not a whole number.
        ValueError: if a size is below 1.
    """

    stands_alone = True

    def __init__(
        self, d_model: int, *, window: int = 64, n_heads: int = 4, d_head: int = 16, expansion: int = 4
    ) -> None:
        check_arguments(locals(), d_model=SIZE, window=SIZE, n_heads=SIZE, d_head=SIZE, expansion=SIZE)
        super().__init__(d_model, state_size=window * d_model + 1)
        self.window, self.n_heads, self.d_head = window, n_heads, d_head
        width = n_heads * d_head
        self.norm = nn.LayerNorm(d_model)
        self.query = Linear(d_model, width, bias=False)
        self.key = Linear(d_model, width, bias=False)
        self.value = Linear(d_model, width, bias=False)
        self.position = Linear(d_model, width, bias=False)  # W_R
        self.content_bias = nn.Parameter(torch.zeros(n_heads, 1, d_head))  # u
        self.position_bias = nn.Parameter(torch.zeros(n_heads, 1, d_head))  # v
        self.output = Linear(width, d_model, bias=False)
        self.attention_gate = Gate(d_model)
        inside = expansion * d_model
        self.perceptron = nn.Sequential(
            nn.LayerNorm(d_model), Linear(d_model, inside), nn.ReLU(), Linear(inside, d_model)
        )
        self.perceptron_gate = Gate(d_model)
        self.sinusoids: Tensor
        self.register_buffer("sinusoids", sinusoids(window, d_model), persistent=False)

    def scan(
        self, x: Float[Tensor, "T B H"], state: Float[Tensor, "B S"], reset: Bool[Tensor, "T B"]
    ) -> tuple[Float[Tensor, "T B H"], Float[Tensor, "B S"]]:
        """See :meth:`Core.scan`."""
        steps, size = len(x), self.window
        memory, number = state[:, :-1].unflatten(1, (size, self.d_model)), state[:, -1].round()
        # An episode's number for every input: that of the state's is 0, the slots before its start have none (-1).
        filled = (torch.arange(size, 0, -1, device=x.device)[:, None] <= number) & ~reset[0]
        # where, not a mask alone: a weight of 0 times a broken state is nan
        inputs = torch.cat([torch.where(filled[..., None], memory.transpose(0, 1), 0.0), x])  # [M + T, B, H]
        episode = torch.cat([filled.long() - 1, reset.cumsum(0)])
        y = self.attention_gate(x, torch.relu(self._attend(self.norm(inputs), episode)))
        y = self.perceptron_gate(y, torch.relu(self.perceptron(y)))
        kept = episode[steps:] == episode[-1]
        memory = torch.where(kept[..., None], inputs[steps:], 0.0).transpose(0, 1)
        return y, torch.cat([memory.flatten(1), kept.sum(0)[:, None].to(x.dtype)], dim=-1)

    def _attend(self, inputs: Float[Tensor, "MT B H"], episode: Int[Tensor, "MT B"]) -> Float[Tensor, "T B H"]:
        """Attention of all but the first M inputs, some at a time: all at once would take T^2 numbers, not T M."""
        size = self.window
        queries = self._heads(self.query(inputs[size:]))
        keys, values = self._heads(self.key(inputs)), self._heads(self.value(inputs))
        positions = self._heads(self.position(self.sinusoids)[:, None])[0]  # [heads, M + 1, d], the largest lag first
        mixed = []
        chunk = max(size, QUERIES)
        for start in range(0, queries.shape[2], chunk):
            q = queries[:, :, start : start + chunk]
            near = slice(start, start + size + q.shape[2])
            content = (q + self.content_bias) @ keys[:, :, near].mT
            logits = content + _by_key((q + self.position_bias) @ positions.mT)
            same = episode[near][size:, None] == episode[near][None]  # [queries, keys, B]
            logits = logits.masked_fill(~same.permute(2, 0, 1)[:, None], -math.inf)
            mixed.append(torch.softmax(logits * self.d_head**-0.5, dim=-1) @ values[:, :, near])
        joined = torch.cat(mixed, dim=2).permute(2, 0, 1, 3)
        output: Tensor = self.output(joined.flatten(2))
        return output

    def _heads(self, x: Float[Tensor, "T B HD"]) -> Float[Tensor, "B heads T d"]:
        heads: Tensor = x.unflatten(-1, (self.n_heads, self.d_head))
        return heads.permute(1, 2, 0, 3)


class Gate(nn.Module):
    r"""The paper's GRU-type gating, in place of the residual connection x + y.

    .. math::
        r = \sigma(W_r y + U_r x), \qquad z = \sigma(W_z y + U_z x - b_g), \qquad
        h = \tanh(W_g y + U_g (r \odot x)), \qquad g(x, y) = (1 - z) \odot x + z \odot h

    b_g begins at 2: z is small and the gate near the identity, without which a transformer hardly learns from rewards.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.from_y = Linear(d_model, 3 * d_model, bias=False)  # W_r, W_z, W_g
        self.from_x = Linear(d_model, 2 * d_model, bias=False)  # U_r, U_z
        self.from_kept = Linear(d_model, d_model, bias=False)  # U_g
        self.bias = nn.Parameter(torch.full((d_model,), 2.0))  # b_g

    def forward(self, x: Float[Tensor, "T B H"], y: Float[Tensor, "T B H"]) -> Float[Tensor, "T B H"]:
        """The gated sum of what came in and what was made of it."""
        r_y, z_y, h_y = self.from_y(y).chunk(3, dim=-1)
        r_x, z_x = self.from_x(x).chunk(2, dim=-1)
        z = torch.sigmoid(z_y + z_x - self.bias)
        h = torch.tanh(h_y + self.from_kept(torch.sigmoid(r_y + r_x) * x))
        return x + z * (h - x)  # not torch.lerp, which takes tensors of one dtype: under autocast there are two


def sinusoids(window: int, width: int) -> Float[Tensor, "M1 H"]:
    """R of the lags M, M - 1, ..., 0: sines and cosines of wave lengths from 2 pi to 20,000 pi steps, side by side."""
    frequencies = 10_000.0 ** -(torch.arange(0, width, 2) / width)
    phases = torch.arange(window, -1, -1)[:, None] * frequencies
    return torch.cat([phases.sin(), phases.cos()], dim=-1)[:, :width]


def _by_key(by_lag: Float[Tensor, "B heads Q M1"]) -> Float[Tensor, "B heads Q K"]:
    """Move the logits of lags M, ..., 0 to the keys they are for: query i sees keys i to i + M of Q + M, others -inf.

    With Q columns of -inf on the right, rows of Q + M + 1 read as rows of Q + M each begin one column later than the
    row above.
    """
    queries, lags = by_lag.shape[2:]
    keys = queries + lags - 1
    padded = nn.functional.pad(by_lag, (0, queries), value=-math.inf)
    shifted: Tensor = padded.flatten(2)[..., : queries * keys].unflatten(2, (queries, keys))
    return shifted
