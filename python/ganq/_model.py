"""A compiled model for Python: text in, text out."""

import math
import os
from pathlib import Path

import numpy as np

from ._runtime import RuntimeModel, Session
from ._tools import GanqError


def _find_tokenizer(path, tokenizer):
    """The Tokenizer given, of the file given, or beside the model; else None."""
    if tokenizer is None:
        model = Path(path)
        for candidate in (model.with_suffix(".tokenizer.json"), model.with_name("tokenizer.json")):
            if candidate.is_file():
                tokenizer = candidate
                break
        else:
            return None
    if not isinstance(tokenizer, (str, os.PathLike)):
        return tokenizer
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(os.fspath(tokenizer))
    except Exception as error:  # the library raises plain Exception
        raise GanqError(f"cannot read the tokenizer {os.fspath(tokenizer)}: {error}") from None


def _sequence(tokens):
    """The ids `tokens` as an array of one dimension and at least one element."""
    array = np.asarray(tokens)
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "iu":
        raise GanqError("expected a prompt of at least one token id, but got " + repr(array.tolist())[:60])
    return array


def load(path, tokenizer=None):
    """Loads a `.ganq` file, which contains native code: open only trusted ones.

    tokenizer: a `tokenizers.Tokenizer` or the path of a tokenizer.json; by
    default NAME.tokenizer.json or tokenizer.json beside the model, if there is
    one, and none for False. A model without one takes and gives token ids.
    """
    return Model(path, tokenizer)


class Model:
    """A compiled model. Made by `ganq.load`."""

    def __init__(self, path, tokenizer=None):
        self.path = Path(path)
        self.tokenizer = _find_tokenizer(path, tokenizer)
        self._runtime = RuntimeModel(path)

    def encode(self, text):
        """Token ids of a text."""
        if not self.tokenizer:
            raise GanqError(
                f"expected a tokenizer.json beside {self.path}, but got none; "
                "pass tokenizer= to ganq.load, or token ids instead of text"
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise GanqError(f"expected text in UTF-8, but got {text!a:.60}: {error.reason}") from None
        return self.tokenizer.encode(text).ids

    def tokens(self, prompt, max_tokens=64, temperature=0.0, seed=0, stop=()):
        """Yields up to `max_tokens` token ids that follow the ids `prompt`.

        Ends at a token of `stop` (not yielded) and at the model's context.
        """
        prompt = _sequence(prompt)
        session = Session(self._runtime, seed)
        session.feed(prompt)
        for index in range(max_tokens):
            token = session.sample(temperature)
            if token in stop:
                return
            yield token
            if index + 1 == max_tokens or session.length >= session.max_context:
                return
            session.feed([token])

    def generate(self, prompt, max_tokens=64, temperature=0.0, seed=0, stop=None, stream=None):
        """Continues `prompt`: a text gives the text that follows, ids give ids.

        temperature: 0 takes the most probable token at each step; else tokens
        are drawn, the same ones for the same `seed`. stop: ids that end it;
        by default the tokenizer's special tokens. stream: called with each
        piece of text (or each id) as it comes.
        """
        if not isinstance(prompt, str):
            ids = []
            for token in self.tokens(prompt, max_tokens, temperature, seed, stop or ()):
                ids.append(token)
                if stream:
                    stream(token)
            return ids
        start = self.encode(prompt)
        if stop is None:
            added = self.tokenizer.get_added_tokens_decoder()
            stop = {token for token, entry in added.items() if entry.special}
        ids, text = list(start), ""
        # Whole sequences are decoded, since a token may be part of a character
        # and some decoders drop the first token's space.
        before = self.tokenizer.decode(ids)
        for token in self.tokens(start, max_tokens, temperature, seed, stop):
            ids.append(token)
            after = self.tokenizer.decode(ids)[len(before) :]
            if stream and not after.endswith("\ufffd") and len(after) > len(text):
                stream(after[len(text) :])
                text = after
        after = self.tokenizer.decode(ids)[len(before) :]
        if stream and len(after) > len(text):
            stream(after[len(text) :])
        return after

    def perplexity(self, tokens):
        """exp of the mean cross-entropy on `tokens`, integers [rows, length].

        Rows are independent; the targets of a row are its tokens 1..end.
        """
        tokens = np.asarray(tokens)
        if tokens.ndim != 2 or tokens.dtype.kind not in "iu":
            raise GanqError(
                f"expected a 2-D array of token ids, but got {tokens.ndim} dimensions of {tokens.dtype}"
            )
        loss, targets = self._runtime.evaluate(tokens)
        return math.exp(loss / targets)

    def logits(self, tokens):
        """The logits that follow the ids `tokens`, f32 [vocabulary]."""
        tokens = _sequence(tokens)
        session = Session(self._runtime)
        session.feed(tokens)
        return session.logits()

    def run(self, inputs):
        """Runs the whole graph once: {input name: array} -> {output name: array}."""
        return self._runtime.run(inputs)

    def inspect(self):
        """The manifest (docs/Format.md) and the size of the file in bytes."""
        return dict(self._runtime.manifest, file=str(self.path), file_bytes=self.path.stat().st_size)
