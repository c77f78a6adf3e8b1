"""Makes the calibration and held-out tokens of the demo model.

    python make_tokens.py models/demo/tokenizer.json DIRECTORY

writes calibration.npy and heldout.npy into DIRECTORY: int32 [rows, length].
Every row begins with the story separator (id 0) and goes on with stories from
streams of the grammar that training never saw. A row's targets are its tokens
1..end.
"""

import argparse
import os

import numpy as np

from story_corpus import stories

SEPARATOR = "<|story|>"


def encode_stories(tokenizer_path, stream, count):
    """The stories of a stream as one int32 vector, each after the separator."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(tokenizer_path)
    pieces = []
    texts = list(stories(stream, count))
    for begin in range(0, count, 1000):
        for encoding in tokenizer.encode_batch(texts[begin : begin + 1000]):
            pieces.append(np.array(encoding.ids, dtype=np.int32))
    return np.concatenate(pieces)


def rows_of(tokenizer_path, stream, rows, length):
    """int32 [rows, length]; every row begins with a whole story."""
    tokens = encode_stories(tokenizer_path, stream, rows * (length // 64 + 2))
    starts = np.flatnonzero(tokens == 0)
    result = np.empty((rows, length), dtype=np.int32)
    position = 0
    for row in range(rows):
        result[row] = tokens[position : position + length]
        position = starts[np.searchsorted(starts, position + length)]
    return result


def save(path, array):
    """Writes beside the target first, so that no half file is ever seen."""
    with open(path + ".new", "wb") as file:
        np.save(file, array)
    os.replace(path + ".new", path)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tokenizer")
    parser.add_argument("directory")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--length", type=int, default=256)
    args = parser.parse_args()
    os.makedirs(args.directory, exist_ok=True)
    for name in ("calibration", "heldout"):
        tokens = rows_of(args.tokenizer, name, args.rows, args.length)
        save(os.path.join(args.directory, name + ".npy"), tokens)
        print(f"{name}.npy: {tokens.shape[0]} rows of {tokens.shape[1]} tokens")


if __name__ == "__main__":
    main()
