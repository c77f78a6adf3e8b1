"""The plots of the story grammar (see story_corpus.py): each tells the middle and
the end of the story that it is given."""

from story_state import article, count_of, plural
from story_words import ANIMALS, COLOURS, FOODS, HELPERS, HIDING, NUMBERS, SKILLS, TOYS, Thing

HIDING_FINDS = ["leaf", "spider", "stone", "old shoe", "feather", "mouse", "stick", "sock", "penny", "bug"]


def lost_thing(s):
    hero, friend = s.hero, s.friend
    toy = s.thing()
    s.tell(
        f"{s.ref(hero)} took {hero.his} {toy.full} along.",
        f"{s.ref(hero)} had {article(toy.full)} that {hero.he} loved very much.",
        f"{hero.his} {s.adult.name.lower()} had given {hero.him} {article(toy.full)}.",
        about=hero,
    )
    s.tell(
        f"but then the {toy.noun} was gone!",
        f"after a while, {hero.name} could not find the {toy.noun}.",
        f"suddenly {hero.name} saw that the {toy.full} was not there.",
        about=hero,
    )
    s.feel(hero, "sad")
    s.meet()
    s.say(friend, f"Why are you so sad, {hero.name}?", "What is wrong?", f"Can I help you, {hero.name}?")
    s.say(hero, f"I lost my {toy.noun}.", f"My {toy.full} is gone!", f"I can not find my {toy.full}.")
    spots = s.random.sample(HIDING, s.number(2, 4))
    for index, spot in enumerate(spots[:-1]):
        word = ["first", "then", "next"][index]
        s.tell(
            f"{word} they looked {spot}, but the {toy.noun} was not there.",
            f"{word} they looked {spot}, but they only found {article(s.pick(HIDING_FINDS))}.",
            about=None,
        )
    s.tell(
        f"at last {friend.name} looked {spots[-1]}.", f"in the end, they looked {spots[-1]}.", about=friend
    )
    s.tell(
        f"there was the {toy.full}!",
        f"and there it was, the {toy.full}!",
        f"the {toy.full} was right there!",
        about=None,
    )
    s.feel(hero, "glad")
    s.say(
        hero,
        f"Thank you, {friend.name}!",
        f"You found my {toy.noun}!",
        f"You are a good friend, {friend.name}.",
    )
    s.close(
        toy,
        s.pick(
            ["friends help each other", "it is good to ask for help", "looking again is better than crying"]
        ),
    )


def sharing(s):
    hero, friend = s.hero, s.friend
    food = s.pick(FOODS)
    total = s.number(3, 9)
    s.tell(
        f"{s.ref(hero)} had {count_of(total, food)} in {hero.his} bag.",
        f"{hero.his} {s.adult.name.lower()} gave {hero.him} {count_of(total, food)}.",
        f"{s.ref(hero)} picked {count_of(total, food)} and put them in a basket.",
        about=hero,
    )
    s.meet(
        s.pick(
            [
                f"{friend.name} looked hungry.",
                f"{friend.he} had nothing to eat.",
                f"{friend.name} was very hungry that day.",
            ]
        )
    )
    s.say(
        friend,
        f"May I have some of your {plural(food)}?",
        f"Those {plural(food)} look so good!",
        "I did not eat today.",
    )
    given = s.number(1, total - 1)
    if s.chance(0.4):
        s.tell(
            f"at first {hero.name} did not want to share.",
            f"{hero.name} wanted to keep all the {plural(food)}.",
            about=hero,
        )
        s.tell(
            f"but then {hero.he} saw how sad {friend.name} was.",
            f"but {friend.name} looked so sad that {hero.name} felt sorry.",
            about=hero,
        )
    s.tell(
        f"{s.ref(hero)} gave {friend.name} {count_of(given, food)}.",
        f"so {hero.name} gave {NUMBERS[given]} of them to {friend.name}.",
        about=hero,
    )
    left = total - given
    s.tell(
        f"now {hero.name} had {count_of(left, food)} and {friend.name} had {NUMBERS[given]}.",
        f"{hero.name} still had {count_of(left, food)} left.",
        about=hero,
    )
    s.say(friend, f"Thank you, {hero.name}!", "You are so kind!", f"These {plural(food)} are so sweet!")
    s.tell(
        f"they sat down {s.pick(HIDING)} and ate together.",
        f"they ate the {plural(food)} and talked about the {s.places[2]}.",
        f"they ate until there were no more {plural(food)}.",
        about=None,
    )
    s.feel(s.pick([hero, friend]), "glad")
    s.close(None, s.pick(["sharing makes everyone happy", f"{plural(food)} taste better with a friend"]))


def small_animal(s):
    hero = s.hero
    animal = s.pick([a for a in ANIMALS if a not in (hero.kind, s.friend.kind)])
    part, adj = s.pick([("leg", "hurt"), ("foot", "stuck"), ("tail", "stuck"), ("ear", "hurt")])
    spot = s.pick(HIDING)
    s.tell(
        f"{s.ref(hero)} heard a small sound {spot}.",
        f"suddenly {s.ref(hero)} heard someone cry {spot}.",
        about=hero,
    )
    s.tell(
        f"it was a tiny {animal}.",
        f"{hero.name} looked and saw a little {animal}.",
        f"there was a baby {animal}, all alone.",
        about=None,
    )
    s.tell(
        f"the {animal} had {article(adj + ' ' + part) if adj == 'hurt' else 'its ' + part + ' stuck in a hole'}.",
        f"its {part} was {adj}, and it could not move.",
        about=None,
    )
    s.say(hero, f"Do not be afraid, little {animal}.", "I will help you!", f"Poor little {animal}!")
    if s.chance(0.5):
        s.tell(
            f"{hero.name} ran to get {hero.his} {s.adult.name.lower()}.",
            f"{hero.name} called for {hero.his} {s.adult.name.lower()}.",
            about=hero,
        )
        s.say(
            s.adult,
            f"We must be very careful with the {animal}.",
            "Bring me some warm water.",
            f"You did the right thing, {hero.name}.",
        )
    if adj == "hurt":
        s.tell(
            f"they put a soft cloth around its {part}.",
            f"{hero.name} washed the {part} with warm water.",
            f"{hero.name} carried the {animal} home and gave it some milk.",
            about=hero,
        )
    else:
        s.tell(
            f"{hero.name} moved a big stone, and the {part} came free.",
            f"{hero.name} pulled very slowly, and soon the {animal} was free.",
            about=hero,
        )
    days = s.number(2, 9)
    s.tell(
        f"after {NUMBERS[days]} days, the {animal} was well again.",
        f"soon the {animal} could run and play.",
        "",
        about=None,
    )
    s.tell(
        f"the {animal} ran away into the {s.places[2]}, but it looked back once.",
        f"the {animal} stayed with {hero.name} and never went away.",
        f"every day the {animal} came to see {hero.name} at the {s.home}.",
        about=None,
    )
    s.feel(hero, "glad")
    s.close(None, s.pick(["even small animals need help", "it is good to be gentle"]))


def build(s):
    hero, friend = s.hero, s.friend
    what = s.pick(["kite", "boat", "tower", "tree house", "bridge", "sand castle", "snow man", "wagon"])
    parts = s.random.sample(["wood", "paper", "rope", "stones", "sticks", "leaves", "boxes", "string"], 3)
    s.tell(
        f"{s.ref(hero)} wanted to make {article(what)}.",
        f"{s.ref(hero)} had a plan: to build {article(what)}.",
        about=hero,
    )
    s.meet()
    s.say(hero, f"Let us build {article(what)}!", f"Will you help me make {article(what)}?")
    s.say(
        friend,
        f"Yes, I love that idea!",
        f"We need {parts[0]} and {parts[1]}.",
        f"I will bring the {parts[0]}.",
    )
    s.tell(
        f"they worked all day with {parts[0]} and {parts[1]}.",
        f"{hero.name} held the {parts[0]} and {friend.name} held the {parts[1]}.",
        about=None,
    )
    trouble, cause = s.pick(
        [
            ("fell down", "the wind blew hard"),
            ("broke", "it was too weak"),
            ("got wet", "it began to rain"),
            ("fell apart", f"a {s.pick(ANIMALS)} ran into it"),
        ]
    )
    s.tell(f"but {cause}, and the {what} {trouble}.", f"then {cause}. The {what} {trouble}!", about=None)
    s.feel(s.pick([hero, friend]), "sad")
    s.say(friend, "Let us try again.", f"We can use {parts[2]} this time.", "Do not give up!")
    s.tell(
        f"so they added {parts[2]} and made the {what} strong.",
        f"this time they used {parts[2]} too.",
        f"they put {parts[2]} around the {parts[0]}.",
        about=None,
    )
    s.tell(
        f"now the {what} was better than before.",
        f"at last the {what} was done!",
        f"the new {what} was big and strong.",
        about=None,
    )
    s.feel(hero, "glad")
    s.close(
        None, s.pick(["you should never give up", "two heads are better than one", "it is fine to try again"])
    )


def race(s):
    hero, friend = s.hero, s.friend
    start, goal = s.places[1], s.places[2]
    s.meet(
        s.pick(
            [
                f"{friend.name} was very fast.",
                f"{friend.he} could run like the wind.",
                f"{friend.name} said that nobody was as fast as {friend.he} was.",
            ]
        )
    )
    s.say(
        friend,
        f"I can beat you in a race, {hero.name}!",
        f"Let us run to the {goal}!",
        f"You are too slow for me, {hero.name}!",
    )
    s.say(hero, "We will see.", f"Then we will race to the {goal}.", "I will do my best.")
    s.tell(
        f"they ran from the {start} to the {goal}.",
        f"one, two, three, and off they went to the {goal}!",
        about=None,
    )
    lead = s.pick(
        [
            "stopped to look at a butterfly",
            "sat down to rest",
            "fell over a stone",
            "stopped to eat a snack",
            "fell asleep under a tree",
        ]
    )
    s.tell(
        f"{friend.name} was far ahead, but {friend.he} {lead}.",
        f"{friend.name} was winning, but then {friend.he} {lead}.",
        about=friend,
    )
    if s.chance(0.5):
        s.tell(
            f"{hero.name} ran on and on and won the race.",
            f"{hero.name} kept going and came to the {goal} first.",
            about=hero,
        )
        s.say(
            friend, f"You won, {hero.name}!", "You were better than me today.", "I should not have stopped."
        )
        s.feel(hero, "glad")
        s.close(None, s.pick(["slow and steady can win", "it is better not to stop too soon"]))
    else:
        s.tell(
            f"{hero.name} saw it and stopped to help {friend.him}.",
            f"{hero.name} came back and took {friend.his} hand.",
            about=hero,
        )
        s.say(friend, f"But now you can not win, {hero.name}!", "Why did you stop for me?")
        s.say(hero, "You are more important than a race.", "Friends come first.", "I do not need to win.")
        s.tell(
            f"they came to the {goal} together.", f"so they walked to the {goal} side by side.", about=None
        )
        s.close(None, "a friend is better than a prize")


def gift(s):
    hero, adult = s.hero, s.adult
    title = adult.name.lower()
    made = s.pick(["card", "cake", "necklace", "picture", "song", "hat", "scarf", "basket"])
    colour = s.pick(COLOURS)
    s.tell(
        f"soon it was {hero.his} {title}'s birthday.",
        f"{hero.his} {title} had a birthday that day.",
        about=adult,
    )
    s.say(
        hero,
        f"I want to give {adult.him} something nice.",
        "What can I make?",
        f"I will make {article(made)} for {adult.him}.",
    )
    s.tell(
        f"but {hero.name} had no money.",
        f"{hero.name} did not know how to make {article(made)}.",
        f"{hero.name} thought about it for a long time.",
        about=hero,
    )
    s.meet()
    s.say(
        s.friend,
        "You can make it with love.",
        "Make it with your own hands.",
        f"I can show you how to make {article(made)}.",
        f"{title.capitalize()} likes {colour} things.",
    )
    if made in ("song",):
        s.tell(
            f"they made a song about the {s.home} and sang it {NUMBERS[s.number(2, 9)]} times.", about=None
        )
    else:
        s.tell(
            f"so {hero.name} made {article(colour + ' ' + made)}.",
            f"they worked hard and made {article(made)}. It was {colour}.",
            about=hero,
        )
    s.tell(
        f"in the evening {hero.name} gave the {made} to {hero.his} {title}.",
        f"{hero.name} hid the {made} behind {hero.his} back and walked to {hero.his} {title}.",
        about=hero,
    )
    s.say(
        adult,
        f"What a lovely {made}!",
        f"Did you make this {made} for me?",
        f"This is the best {made} in the world.",
    )
    s.tell(
        f"{title.capitalize()} gave {hero.name} a big hug.",
        f"{adult.he} hugged {hero.name} for a long time.",
        about=adult,
    )
    s.feel(hero, "glad")
    s.close(None, s.pick(["a gift from the heart is the best gift", "love does not cost money"]))


def baking(s):
    hero, adult = s.hero, s.adult
    title = adult.name.lower()
    dish = s.pick(["cake", "pie", "soup", "bread", "pancakes"])
    needs = s.random.sample(["flour", "milk", "eggs", "sugar", "butter", "salt", "honey"], 3)
    s.tell(
        f"{hero.name} and {hero.his} {title} wanted to make {dish if dish[-1] == 's' or dish in ('soup', 'bread') else article(dish)}.",
        about=hero,
    )
    s.say(adult, f"We need {needs[0]}, {needs[1]} and {needs[2]}.")
    missing = s.number(0, 2)
    s.tell(
        f"{hero.name} looked in the kitchen, but there was no {needs[missing]}.".replace(
            "was no eggs", "were no eggs"
        ),
        f"they had {needs[(missing + 1) % 3]} and {needs[(missing + 2) % 3]}, but they had no {needs[missing]}.",
        about=hero,
    )
    s.say(
        hero, f"I will go and get some {needs[missing]}!", f"I can ask {s.friend.name} for {needs[missing]}."
    )
    s.tell(
        f"{hero.he} ran to the {s.places[2]} to see {s.friend.name}.",
        f"{hero.name} walked past the {s.places[2]} to find {s.friend.name}.",
        about=hero,
    )
    s.say(hero, f"Do you have some {needs[missing]}?", f"We need {needs[missing]}, {s.friend.name}.")
    s.say(
        s.friend,
        f"Yes, here is the {needs[missing]}.".replace("is the eggs", "are the eggs"),
        f"You can have my {needs[missing]}, if I can have some {dish}.",
    )
    s.tell(
        f"{hero.name} thanked {s.friend.him} and ran back home.",
        f"{hero.name} carried the {needs[missing]} home very carefully.",
        about=hero,
    )
    s.tell(
        f"they put the {needs[0]}, the {needs[1]} and the {needs[2]} in a big bowl.",
        f"{title.capitalize()} mixed it all in a bowl, and {hero.name} helped.",
        about=adult,
    )
    s.tell(
        f"soon the {dish} smelled so good.",
        f"the {dish} was warm and sweet.",
        f"the {dish} got a little black, but they ate it anyway.",
        about=None,
    )
    s.tell(
        f"{s.friend.name} came and ate with them.",
        f"they gave a big piece to {s.friend.name}.",
        f"they all sat at the table and ate.",
        about=s.friend,
    )
    s.close(None, s.pick(["cooking is fun with others", "it is good to ask a friend"]))


def night_noise(s):
    hero = s.hero
    noise, source = s.pick(
        [
            ("tap, tap, tap", "a branch at the window"),
            ("whoo, whoo", "an owl in the tree"),
            ("scratch, scratch", "a little mouse"),
            ("drip, drip, drip", "the rain on the roof"),
            ("bang, bang", "the old door in the wind"),
            ("squeak, squeak", "the old chair"),
        ]
    )
    s.tell(
        f"that night, {hero.name} lay in bed.", f"when it was dark, {hero.name} could not sleep.", about=hero
    )
    s.tell(f"{hero.he} heard a noise. {noise.capitalize()}!", f"then there was a noise: {noise}!", about=hero)
    s.feel(hero, "afraid")
    s.say(hero, "Is it a monster?", "Who is there?", "I must find out what that is.")
    lamp = s.thing(["lamp", "blanket", "bear", "candle"])
    s.tell(
        f"{hero.name} took {hero.his} {lamp.full} and got out of bed.",
        f"{hero.he} held {hero.his} {lamp.full} very close.",
        about=hero,
    )
    s.tell(
        f"{hero.he} went to look {s.pick(HIDING)}, but nothing was there.",
        f"{hero.he} walked step by step to the door.",
        about=hero,
    )
    s.tell(f"{noise.capitalize()}! There it was again.", f"then the noise came again: {noise}.", about=None)
    s.tell(f"but it was only {source}!", f"{hero.name} looked and saw {source}.", about=hero)
    s.say(hero, "It is not a monster at all!", f"You are only {source}!", "I was silly to be afraid.")
    s.feel(hero, s.pick(["glad", "tired"]))
    s.tell(
        f"{hero.name} put the {lamp.full} down and went to sleep.",
        f"{hero.he} went back to bed with the {lamp.full}.",
        about=hero,
    )
    s.close(lamp, s.pick(["the dark is not so bad", "being brave means to look again"]))


def garden(s):
    hero, friend = s.hero, s.friend
    plant = s.pick(["flower", "apple tree", "pumpkin", "bean", "carrot", "rose"])
    giver = s.pick(HELPERS)
    s.tell(
        f"an old {giver} gave {hero.him} a seed.",
        f"{s.ref(hero)} found a tiny seed {s.pick(HIDING)}.",
        about=hero,
    )
    s.say(hero, "I will plant it.", f"I want it to be a big {plant}.", "What will it be?")
    s.tell(
        f"{hero.name} put the seed into the ground near the {s.home}.",
        f"{hero.he} made a hole and put the seed in.",
        about=hero,
    )
    first = s.number(2, 4)
    s.tell(
        f"every day {hero.he} gave it water.",
        f"{hero.name} gave it water for {NUMBERS[first]} days.",
        about=hero,
    )
    s.tell(f"but nothing came up.", "nothing happened.", "there was only dirt.", about=None)
    s.meet()
    s.say(friend, "That seed is no good.", "Maybe it needs more time.", "You have to wait.")
    s.say(hero, "I will wait.", "I will not give up.", "It only needs sun and water.")
    s.tell(
        f"after {NUMBERS[first + s.number(1, 4)]} more days, there was something green.",
        "one morning, there was a small green leaf.",
        about=None,
    )
    s.tell(
        f"it grew and grew until it was a {s.pick(COLOURS) + ' ' if plant in ('flower', 'rose') else 'big '}{plant}.",
        f"soon it was taller than {friend.name}. It was {article(plant)}!",
        about=None,
    )
    s.feel(hero, "glad")
    s.tell(
        f"{hero.name} showed the {plant} to {friend.name}.", f"everyone came to see the {plant}.", about=hero
    )
    s.close(None, s.pick(["good things take time", "you have to wait for good things"]))


def warning(s):
    hero, adult = s.hero, s.adult
    act, result, fix = s.pick(
        [
            ("climb the tall tree", "could not get down", "brought a ladder"),
            ("go near the deep water", "fell in", f"pulled {hero.him} out"),
            ("touch the hot pot", f"burned {hero.his} finger", "put cold water on it"),
            ("play with the big vase", "broke it", "helped to clean up"),
            ("eat all the candy", "had a bad pain", f"gave {hero.him} warm tea"),
            ("open the old box", f"got {hero.his} hand stuck", "set it free"),
            ("run on the ice", f"fell and hurt {hero.his} knee", "put a cloth on it"),
        ]
    )
    title = adult.name.lower()
    s.say(adult, f"Do not {act}, {hero.name}!", f"You must not {act}.", f"Please do not {act}.")
    s.say(hero, f"I will not {act}.", "I promise.", "Why not?")
    s.tell(
        f"but when {title} was gone, {hero.name} wanted to {act}.",
        f"{hero.name} waited until nobody was looking.",
        about=hero,
    )
    if s.chance(0.5):
        s.meet()
        s.say(s.friend, f"Your {title} said no!", f"Do not {act}!", "That is not a good idea.")
    s.tell(
        f"{hero.name} did it anyway, and {hero.he} {result}.",
        f"{hero.name} did not listen, and {hero.he} {result}.",
        about=hero,
    )
    s.say(hero, "Help! Help!", f"Oh no, {title}!", "Please help me!")
    s.tell(
        f"{title} came fast and {fix}.",
        f"{hero.his} {title} heard it, ran to {hero.him} and {fix}.",
        about=adult,
    )
    s.say(hero, f"I am sorry, {title}.", "I should have listened to you.", f"I will never {act} again.")
    s.say(adult, "I was so worried.", "I am glad that you are safe.", "I love you, but please listen to me.")
    s.close(None, f"it is good to listen to {title}")


def learning(s):
    hero, friend = s.hero, s.friend
    skill, problem, advice = s.pick(SKILLS)
    s.tell(
        f"{s.ref(hero)} wanted to learn how to {skill}.",
        f"more than anything, {hero.name} wanted to {skill}.",
        about=hero,
    )
    s.tell(
        f"but each time {hero.he} tried, {hero.he} {problem}.",
        f"{hero.name} tried and tried, but {hero.he} {problem}.",
        about=hero,
    )
    s.feel(hero, "sad")
    s.say(hero, f"I will never learn how to {skill}.", f"Why is it so hard to {skill}?", "I give up!")
    s.meet(s.pick([f"{friend.he} knew how to {skill}.", f"{friend.name} could {skill} very well.", ""]))
    s.say(friend, f"You have to {advice}.", f"It is easy. Just {advice}.", f"Watch me and {advice}.")
    times = s.number(2, 9)
    s.tell(
        f"{hero.name} tried {NUMBERS[times]} more times.",
        f"so {hero.name} did what {friend.name} said.",
        f"{hero.name} listened to {friend.name} and tried again.",
        about=hero,
    )
    s.tell(f"at first {hero.he} still {problem}.", "", about=hero)
    s.tell(
        f"and then {hero.name} could {skill}!",
        f"suddenly it worked, and {hero.name} could {skill}.",
        about=hero,
    )
    s.say(friend, f"You did it, {hero.name}!", "I knew that you could do it!", f"Look, you can {skill}!")
    s.feel(hero, "glad")
    s.tell(
        f"now {hero.name} can {skill} every day.",
        f"they went to the {s.places[2]} to {skill} together.",
        about=hero,
    )
    s.close(None, s.pick(["you have to try many times", "nobody can do it the first time"]))


def treasure(s):
    hero, friend = s.hero, s.friend
    prize = s.pick(
        [
            "a box of gold",
            "a bag of shells",
            "a tiny crown",
            "a book of stories",
            "a shiny stone",
            "a silver bell",
        ]
    )
    stops = s.random.sample(
        ["tall tree", "big rock", "old well", "red gate", "small hill", "broken fence", "round pond"], 3
    )
    s.tell(
        f"{s.ref(hero)} found an old map {s.pick(HIDING)}.",
        f"an old {s.pick(HELPERS)} gave {hero.him} a map.",
        about=hero,
    )
    s.meet()
    s.say(
        hero,
        f"Look, {friend.name}, a map!",
        "This map shows a treasure!",
        f"Do you want to come with me, {friend.name}?",
    )
    s.say(
        friend,
        f"It says: the {stops[0]}, the {stops[1]}, the {stops[2]}.",
        f"First we go to the {stops[0]}, then to the {stops[1]}, then to the {stops[2]}.",
    )
    s.tell(f"so they went to the {stops[0]}.", f"first they walked to the {stops[0]}.", about=None)
    s.tell(
        f"from there they went on to the {stops[1]}.",
        f"after the {stops[0]} came the {stops[1]}.",
        about=None,
    )
    if s.chance(0.5):
        who = s.pick([hero, friend])
        s.feel(who, s.pick(["tired", "afraid"]))
        s.say(hero if who is friend else friend, "It is not far now.", "Come on, we are almost there!")
    s.tell(f"at last they came to the {stops[2]}.", f"in the end they saw the {stops[2]}.", about=None)
    deep = s.number(2, 6)
    s.tell(
        f"they dug for {NUMBERS[deep]} hours under the {stops[2]}.",
        f"{hero.name} began to dig, and {friend.name} helped.",
        about=None,
    )
    s.tell(f"there was {prize}!", f"and what did they find? It was {prize}!", about=None)
    s.say(friend, "We found it!", f"We will share it, {hero.name}.", "We are rich!")
    s.feel(hero, "glad")
    s.tell(
        f"they took {prize.replace('a ', 'the ', 1)} home to the {s.home}.",
        f"{hero.name} gave half of it to {friend.name}.",
        about=hero,
    )
    s.close(None, s.pick(["the best treasure is a friend", "it is fun to explore"]))


def trade(s):
    hero = s.hero
    items = [s.thing() for _ in range(4)]
    nouns = [item.noun for item in items]
    if len(set(nouns)) < 4:
        items = [Thing(n, f"{s.pick(COLOURS)} {n}") for n in s.random.sample(TOYS, 4)]
    steps = s.number(2, 3)
    s.tell(
        f"{s.ref(hero)} had {article(items[0].full)}, but {hero.he} wanted {article(items[steps].full)}.",
        f"{s.ref(hero)} wished for {article(items[steps].full)}. All {hero.he} had was {article(items[0].full)}.",
        about=hero,
    )
    for index in range(steps):
        have, get = items[index], items[index + 1]
        who = s.pick([f"an old {s.pick(HELPERS)}", article(s.pick(ANIMALS)), f"a {s.pick(HELPERS)}"])
        bare = who.split(" ", 1)[1]
        s.tell(
            f"{s.pick(['Soon', 'Then', 'After that,'])} {hero.he} met {who} with {article(get.full)}.",
            f"at the {s.places[(index + 1) % 4]} {hero.he} saw {who} with {article(get.full)}.",
            about=hero,
        )
        s.lines.append(
            s.pick(
                [
                    f'"Will you trade your {get.noun} for my {have.noun}?" asked {hero.name}.',
                    f'"I will give you my {have.full} for the {get.noun}," said {hero.name}.',
                ]
            )
        )
        s.tell(
            f"the {bare} took the {have.noun} and gave {hero.him} the {get.noun}.",
            f"the {bare} said yes, and now {hero.name} had the {get.full}.",
            about=None,
        )
    s.feel(hero, "glad")
    s.tell(
        f"in the end, {hero.name} had the {items[steps].full} at last.",
        f"so the {items[0].full} had become {article(items[steps].full)}!",
        about=hero,
    )
    s.close(items[steps], "a fair trade makes two people happy")


PLOTS = [
    lost_thing,
    sharing,
    small_animal,
    build,
    race,
    gift,
    baking,
    night_noise,
    garden,
    warning,
    learning,
    treasure,
    trade,
]
