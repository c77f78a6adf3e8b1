"""The state of a story while it is told (see story_corpus.py): who is there,
what they are called next, and the sentences that all plots share."""

import random

from story_words import (
    ADULTS,
    ANIMALS,
    BOYS,
    COLOURS,
    GIRLS,
    HIDING,
    NUMBERS,
    PLACES,
    TIMES,
    TOYS,
    TRAITS,
    WEATHER,
    Thing,
)


class Person:
    """A character: a name, the pronouns that agree with it and a trait."""

    def __init__(self, name, gender, kind, trait):
        self.name = name
        self.kind = kind
        self.trait = trait
        self.he, self.him, self.his = {"f": ("she", "her", "her"), "m": ("he", "him", "his")}[gender]
        self.gender = gender


def article(words):
    return ("an " if words[0] in "aeiou" else "a ") + words


def plural(noun):
    if noun.endswith(("ch", "sh", "s", "x")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def count_of(number, noun):
    """`three apples`, `one apple`."""
    return f"{NUMBERS[number]} {noun if number == 1 else plural(noun)}"


class Story:
    """The state of one story and the sentences told so far."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.lines = []
        self.subject = None
        names = self.random.sample(GIRLS, 2) + self.random.sample(BOYS, 2)
        self.random.shuffle(names)
        self.names = [(n, "f" if n in GIRLS else "m") for n in names]
        self.hero = self.person()
        self.friend = self.person(animal_chance=0.25)
        title, gender = self.pick(ADULTS)
        self.adult = Person(title, gender, "adult", "kind")
        self.together = False
        self.weather = self.pick(WEATHER)
        self.places = self.random.sample(PLACES, 4)
        self.home = self.places[0]

    def person(self, animal_chance=0.4):
        name, gender = self.names.pop()
        trait = self.pick(TRAITS)
        if self.random.random() < animal_chance:
            return Person(name, gender, self.pick(ANIMALS), trait)
        return Person(name, gender, "girl" if gender == "f" else "boy", trait)

    def pick(self, options):
        return self.random.choice(options)

    def chance(self, probability):
        return self.random.random() < probability

    def number(self, low, high):
        return self.random.randint(low, high)

    def tell(self, *variants, about=None):
        """Adds one of the sentences; `about` is its grammatical subject."""
        text = self.pick(variants)
        if text:
            self.lines.append(text[0].upper() + text[1:])
            self.subject = about

    def ref(self, who):
        """The pronoun if the last sentence was about `who`, else the name."""
        if self.subject is who and self.chance(0.75):
            return who.he
        return who.name

    def say(self, who, *variants):
        """A line of dialogue by `who`."""
        text = self.pick(variants)
        verb = (
            "asked"
            if text.endswith("?")
            else self.pick(
                ["said", "said", "cried", "called"] if text.endswith("!") else ["said", "said", "answered"]
            )
        )
        quote = text[:-1] + "," if text.endswith(".") else text
        name = who.name if self.subject is not who or self.chance(0.5) else who.he
        if name != who.he and name == who.name and who.kind != "adult" and self.chance(0.4):
            self.lines.append(f'"{quote}" {verb} {name}.')
        elif self.chance(0.5):
            self.lines.append(f'"{quote}" {name} {verb}.')
        else:
            self.lines.append(f'{name[0].upper() + name[1:]} {verb}, "{text}"')
        self.subject = who

    def feel(self, who, mood):
        words = {
            "glad": ["happy", "glad", "very happy", "proud", "full of joy"],
            "sad": ["sad", "very sad", "upset", "lonely"],
            "afraid": ["scared", "afraid", "worried", "nervous"],
            "tired": ["tired", "sleepy", "very tired"],
        }[mood]
        shows = {
            "glad": [
                f"{who.name} smiled a big smile.",
                f"{who.name} jumped up and down.",
                f"{who.name} laughed and clapped {who.his} hands.",
            ],
            "sad": [
                f"{who.name} began to cry.",
                f"A tear ran down {who.his} face.",
                f"{who.name} sat down and looked at the ground.",
            ],
            "afraid": [
                f"{who.name} held {who.his} breath.",
                f"{who.name} began to shake.",
                f"{who.his} heart went very fast.",
            ],
            "tired": [f"{who.name} gave a big yawn.", f"{who.name} could hardly keep {who.his} eyes open."],
        }[mood]
        if self.chance(0.6):
            self.tell(
                f"{self.ref(who)} felt {self.pick(words)}.",
                f"{self.ref(who)} was {self.pick(words)}.",
                about=who,
            )
        else:
            self.tell(*shows, about=who)

    def thing(self, kinds=TOYS):
        noun = self.pick(kinds)
        return Thing(noun, f"{self.pick(COLOURS)} {noun}")

    def open(self):
        hero = self.hero
        what = self.pick([f"{hero.trait} {hero.kind}", f"little {hero.kind}", f"{hero.kind}"])
        self.tell(
            f"{self.pick(TIMES)}, there was {article(what)} named {hero.name}.",
            f"{hero.name} was {article(what)} who lived near the {self.home}.",
            f"{self.pick(TIMES)}, {article(what)} named {hero.name} lived by the {self.home}.",
            f"there once was {article(what)}. {hero.his} name was {hero.name}.".replace(
                ". her", ". Her"
            ).replace(". his", ". His"),
            about=hero,
        )
        if self.chance(0.6):
            other = self.pick([t for t in TRAITS if t != hero.trait])
            self.tell(
                f"{self.ref(hero)} was very {other}.",
                f"{self.ref(hero)} loved to play near the {self.home}.",
                f"everyone said that {self.ref(hero)} was {other}.",
                f"{self.ref(hero)} lived there with {hero.his} {self.adult.name.lower()}.",
                about=hero,
            )
        self.tell(
            f"one {self.weather} day, {self.ref(hero)} went to the {self.places[1]}.",
            f"one {self.pick(['morning', 'afternoon', 'evening'])}, {self.ref(hero)} walked to the {self.places[1]}.",
            f"it was {article(self.weather)} day, and {hero.name} was at the {self.places[1]}.",
            about=hero,
        )

    def scene(self):
        """A sentence or two of scenery and clothes."""
        hero = self.hero
        colour, other = self.random.sample(COLOURS, 2)
        animal = self.pick([a for a in ANIMALS if a != hero.kind])
        wear = self.pick(["hat", "coat", "scarf", "shirt"])
        if self.chance(0.5):
            self.tell(
                f"the sky was {self.pick(['grey', 'blue', 'full of clouds', 'clear', 'pink and golden'])}, and the wind {self.pick(['sang in the trees', 'was still', 'smelled of rain', 'was soft'])}.",
                f"{article(colour)} bird sat on the {self.pick(['gate', 'fence', 'roof', 'wall'])} and sang a {self.pick(['sweet', 'sad', 'loud', 'short'])} song.",
                f"far away, {article(animal)} ran across the {self.places[2]}.",
                f"there were {NUMBERS[self.number(2, 10)]} {colour} flowers and {NUMBERS[self.number(2, 10)]} {other} ones.",
                f"a {self.pick(['big', 'small', 'slow', 'tired'])} {animal} was sleeping {self.pick(HIDING)}.",
                about=None,
            )
        if self.chance(0.4):
            self.tell(
                f"{hero.name} wore {article(colour + ' ' + wear)} and {other} shoes.",
                f"{hero.name} had on {hero.his} {colour} {wear}, because it was {self.weather} out.",
                f"{hero.name} sang a little song about {article(colour + ' ' + animal)}.",
                f"{hero.name} counted the clouds: {', '.join(NUMBERS[1:self.number(4, 8)])}.",
                about=hero,
            )

    def meet(self, extra=""):
        friend, hero = self.friend, self.hero
        self.together = True
        kind = "" if friend.kind in ("girl", "boy") else f" the {friend.kind}"
        self.tell(
            f"there {hero.he} met {hero.his} friend {friend.name}{kind}.",
            f"{hero.his} friend {friend.name}{kind} was there too.",
            f"then {friend.name}{kind} came along.",
            f"{hero.name} saw {friend.name}{kind} near the {self.places[1]}.",
            about=friend,
        )
        if extra:
            self.tell(extra, about=friend)

    def close(self, thing=None, lesson=None):
        hero, friend = self.hero, self.friend
        if lesson and self.chance(0.6):
            self.tell(
                f"{hero.name} learned that {lesson}.",
                f"from that day on, {hero.name} knew that {lesson}.",
                f"{hero.name} never forgot that {lesson}.",
                about=hero,
            )
        endings = [
            f"{hero.name} went home with a happy heart.",
            f"it was the best day ever for {hero.name}.",
            f"and they all lived happily by the {self.home}.",
        ]
        if self.together:
            endings += [
                f"{hero.name} and {friend.name} were best friends from then on.",
                f"then {hero.name} and {friend.name} walked home from the {self.places[1]} together.",
                f"{friend.name} waved and went back to the {self.places[3]}.",
            ]
        if thing:
            endings += [
                f"that night, {hero.name} put the {thing.full} next to {hero.his} bed and fell asleep.",
                f"{hero.name} told {hero.his} {self.adult.name.lower()} all about the {thing.full}.",
                f"{hero.name} kept the {thing.full} for many years.",
            ]
        self.tell(*endings, about=hero)

    def text(self):
        return " ".join(line[0].upper() + line[1:] for line in self.lines)
