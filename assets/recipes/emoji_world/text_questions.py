"""Plain questions that need no picture, about numbers and about the words of the world."""

from random import Random

from emoji_world.phrases import TEXT_TEMPLATES
from emoji_world.questions import Balance, Option, Question
from emoji_world.vocabulary import Kind, with_article

OPPOSITES = {
    "left": "right", "up": "down", "top": "bottom", "above": "below", "hot": "cold", "wet": "dry", "slow": "fast",
    "push": "pull", "start": "end", "north": "south", "east": "west", "open": "closed", "big": "small", "old": "new",
    "full": "empty", "yes": "no",
}
SORTS = {
    "an animal": "dog cat wolf fox lion tiger moose horse zebra deer cow pig sheep goat camel giraffe elephant mouse "
                 "rabbit hedgehog koala panda kangaroo rooster penguin eagle duck swan owl flamingo parrot frog "
                 "crocodile turtle snake whale dolphin shark llama raccoon beaver otter lizard".split(),
    "a vehicle": "bus,train,ambulance,fire truck,police car,taxi,car,truck,tractor,motorcycle,bicycle,ship,airplane,"
                 "helicopter".split(","),
    "a fruit": "orange,lemon,banana,pineapple,red apple,green apple,pear,peach,strawberry".split(","),
    "a musical instrument": "saxophone,accordion,guitar,piano,trumpet,violin,banjo,drum".split(","),
    "a tool": "hammer,axe,saw,wrench,screwdriver".split(","),
}
FORMS = tuple(TEXT_TEMPLATES)


class TextAsker:
    def __init__(self, kinds: list[Kind]):
        self.nouns = [kind for kind in kinds if kind.code_point and " " not in kind.name]
        self.balance = Balance(slack=0)

    def ask(self, rng: Random) -> Question:
        form = rng.choice(FORMS)
        option = self.balance.choose(form, getattr(self, "_" + form)(rng), rng)
        text = rng.choice(TEXT_TEMPLATES[form]).format(**option.words)
        text, answer = text[0].upper() + text[1:], option.answer[0].upper() + option.answer[1:]
        return Question("text", text, answer, (form, *option.words.values()))

    def _sum(self, rng: Random) -> list[Option]:
        total = rng.randint(0, 12)
        a = rng.randint(max(0, total - 9), min(9, total))
        return [Option({"a": str(a), "b": str(total - a)}, str(total), (), "", str(total))]

    def _next(self, rng: Random) -> list[Option]:
        number = rng.randint(0, 20)
        return [Option({"a": str(number)}, str(number + 1), (), "", str(number))]

    def _opposite(self, rng: Random) -> list[Option]:
        both = list(OPPOSITES.items()) + [(b, a) for a, b in OPPOSITES.items()]
        return [Option({"word": word}, answer, (), "", word) for word, answer in both]

    def _plural(self, rng: Random) -> list[Option]:
        kind = rng.choice(self.nouns)
        return [Option({"word": kind.name}, kind.plural, (), "", kind.name)]

    def _letter(self, rng: Random) -> list[Option]:
        name = rng.choice(self.nouns).name
        return [Option({"word": name}, name[0].upper(), (), "", name[0])]

    def _sort(self, rng: Random) -> list[Option]:
        sort = rng.choice(list(SORTS))
        other = rng.choice([name for name in SORTS if name != sort])
        return [
            Option({"one": with_article(rng.choice(SORTS[sort])), "sort": sort}, "yes", (), sort, "yes"),
            Option({"one": with_article(rng.choice(SORTS[other])), "sort": sort}, "no", (), sort, "no"),
        ]
