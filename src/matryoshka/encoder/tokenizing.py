"""The texts' side of an encoder: which prompt stands in front, and where a text is cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matryoshka.data.tokens import TokenIds, prompt_tokens, token_ids

if TYPE_CHECKING:
    from matryoshka.encoder.encoder import Prompt


class Tokenizing:
    """Texts to token ids, by a tokenizer, prompts and a length."""

    tokenizer: Any
    prompts: Mapping[str, str]
    max_seq_length: int

    def tokenize(self, texts: Sequence[str], prompt: Prompt | None = None) -> list[list[int]]:
        """Token ids of each text, with the prompt in front, cut at max_seq_length."""
        prompted = [self.prompts[prompt] + text for text in texts] if prompt else texts
        return token_ids(self.tokenizer, prompted, self.max_seq_length)

    def token_ids(self, texts: Sequence[str], prompt: Prompt | None = None) -> TokenIds:
        """As `tokenize`, with how many of a text's tokens are those of the prompt."""
        return TokenIds.of(self.tokenize(texts, prompt), self.prompt_tokens(prompt))

    def prompt_tokens(self, prompt: Prompt | None) -> int:
        """How many of a text's tokens are those of the prompt in front of it."""
        return prompt_tokens(self.tokenizer, self.prompts[prompt] if prompt else "", self.max_seq_length)
