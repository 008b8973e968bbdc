"""S7 as a plain PyTorch layer: which of two tokens came first, somewhere in a long stream of others.

    python examples/sequence_classifier.py

Nothing here is about reinforcement learning.  ``S7Block`` is called as ``torch.nn.GRU`` is, time first, and returns the
output at every step and the state after the last one.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from s7rl import S7Block, split_dynamics

TOKENS, FIRST, SECOND = 10, 8, 9
"""Tokens 0 to 7 say nothing; 8 and 9 are the two."""


class Classifier(nn.Module):
    """Tokens ``[T, B]`` to logits ``[B, 2]``, from what is remembered at the end."""

    def __init__(self, width: int, blocks: int, length: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, width)
        self.blocks = nn.ModuleList(S7Block(width, d_state=width, horizon=(2.0, 10.0 * length)) for _ in range(blocks))
        self.head = nn.Linear(width, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        """Read whole sequences."""
        x = self.embedding(tokens)
        for block in self.blocks:
            x, _ = block(x)
        logits: Tensor = self.head(x[-1])
        return logits


def draw(batch: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sequences ``[T, B]``, and for each whether token 8 came before token 9."""
    tokens = torch.randint(FIRST, (length, batch), generator=generator)
    places = torch.rand(length, batch, generator=generator).topk(2, dim=0).indices.sort(dim=0).values
    label = torch.randint(2, (batch,), generator=generator)
    rows = torch.arange(batch)
    tokens[places[0], rows] = torch.where(label == 1, FIRST, SECOND)
    tokens[places[1], rows] = torch.where(label == 1, SECOND, FIRST)
    return tokens, label


def main(arguments: Sequence[str] | None = None) -> float:
    """Train, and return the share of fresh sequences that are told right."""
    parser = argparse.ArgumentParser(description="Which of two tokens came first?")
    parser.add_argument("--length", type=int, default=200, help="steps of a sequence")
    parser.add_argument("--updates", type=int, default=200, help="batches of 64 to learn from")
    parser.add_argument("--width", type=int, default=32, help="features between the layers")
    parser.add_argument("--blocks", type=int, default=2, help="layers")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    model = Classifier(options.width, options.blocks, options.length)
    others, dynamics = split_dynamics(model)  # what sets time constants is not to be decayed
    groups: list[dict[str, Any]] = [{"params": others}, {"params": dynamics, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=3e-3)
    for update in range(options.updates):
        tokens, label = draw(64, options.length, generator)
        loss = nn.functional.cross_entropy(model(tokens), label)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if update % 50 == 49:
            print(f"after {update + 1} updates: loss {loss.item():.3f}")
    with torch.no_grad():
        tokens, label = draw(1000, options.length, generator)
        accuracy = float((model(tokens).argmax(dim=-1) == label).float().mean())
    print(f"told right: {accuracy:.3f} of 1000 fresh sequences (0.5 by chance)")
    return accuracy


if __name__ == "__main__":
    main()
