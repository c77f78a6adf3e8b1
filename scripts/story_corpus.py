"""Makes short children's stories from a grammar, for training and judging the demo model.

Every story is a function of its seed. A story has a state (who is there, what
they carry, where they are, how many things are left), and later sentences
refer back to it, so that a model has to remember names, pronouns, objects and
counts over the whole story. Use `stories(seed, count)`, or print some with
`python story_corpus.py SEED COUNT`.
"""

import sys

from story_plots import PLOTS
from story_state import Story


def story(seed):
    """One story; the same seed gives the same story."""
    s = Story(seed)
    s.open()
    s.scene()
    s.pick(PLOTS)(s)
    return s.text()


def stories(seed, count):
    """`count` stories of one stream; streams of different seeds are independent."""
    for index in range(count):
        yield story(f"{seed}/{index}")


if __name__ == "__main__":
    for line in stories(int(sys.argv[1]), int(sys.argv[2])):
        print(line + "\n")
