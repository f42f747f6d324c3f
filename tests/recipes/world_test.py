"""Promises of Emoji World's scenes, clips and questions.

    python3 tests/recipes/world_test.py     (needs nothing but Python)
"""

import sys
import unittest
from collections import Counter
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "assets/recipes"))
from emoji_world.phrases import TEMPLATES, TEXT_TEMPLATES  # noqa: E402
from emoji_world.questions import (CATEGORIES, CLIP_CATEGORIES, PICTURE_CATEGORIES, VALUES, Asker,  # noqa: E402
                                   Balance, Option)
from emoji_world.splits import SPLITS, rng_of  # noqa: E402
from emoji_world.text_questions import SORTS, TextAsker  # noqa: E402
from emoji_world.vocabulary import (COVERED_BY, SHAPES, SIGN_NUMBERS, SIGN_WORDS, load_kinds,  # noqa: E402
                                    smallest_sign, with_article)
from emoji_world.world import (ASPECTS, DIRECTIONS, FEWEST, MOST, PATCH, SHORTEST_MOVE, SIZES, Scene,  # noqa: E402
                               Thing, World, box_of, place)

KINDS = load_kinds()
WORLD = World(KINDS)
KIND_OF = {kind.name: number for number, kind in enumerate(KINDS) if not kind.text}
SCENES = 400


def scenes(count=SCENES, seed="scenes"):
    rng = Random(seed)
    return [WORLD.scene(rng) for _ in range(count)]


def clips(count=150, seed="clips"):
    rng = Random(seed)
    return [WORLD.clip(rng) for _ in range(count)]


def hand_made(*things, aspect="1:1"):
    """A scene of (name, x, y, size)."""
    return Scene(aspect, tuple(Thing(x, y, size, KIND_OF[name]) for name, x, y, size in things))


def overlap(one, other):
    a, b = box_of(one), box_of(other)
    return min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])


class Vocabulary(unittest.TestCase):
    def test_there_are_over_three_hundred_names_and_none_twice(self):
        names = [kind.name for kind in KINDS if not kind.text]
        self.assertGreater(sum(bool(kind.code_point) for kind in KINDS), 300)
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual(len(SIGN_WORDS + SIGN_NUMBERS), len(set(SIGN_WORDS + SIGN_NUMBERS)))

    def test_tables_name_only_what_there_is(self):
        known = set(KIND_OF) | set(SHAPES)
        for general, special in COVERED_BY.items():
            self.assertLessEqual({general, *special}, known)
        for names in SORTS.values():
            self.assertLessEqual(set(names), known)
        for text in SIGN_WORDS + SIGN_NUMBERS:
            self.assertLessEqual(smallest_sign(text), 10 * PATCH)

    def test_articles_follow_the_sound(self):
        said = [with_article(name) for name in ("owl", "unicorn", "hourglass", "horse", "umbrella")]
        self.assertEqual(said, ["an owl", "a unicorn", "an hourglass", "a horse", "an umbrella"])


class Scenes(unittest.TestCase):
    def test_things_lie_inside_the_picture_and_apart(self):
        for scene in scenes():
            for number, thing in enumerate(scene.things):
                left, top, right, bottom = box_of(thing)
                self.assertTrue(0 <= left and 0 <= top and right <= scene.width and bottom <= scene.height)
                self.assertFalse(any(overlap(thing, other) for other in scene.things[:number]))

    def test_numbers_sizes_and_aspects_are_spread_as_promised(self):
        drawn = scenes(1500)
        things = [thing for scene in drawn for thing in scene.things]
        for low, high in SIZES:
            share = sum(low <= thing.size < high for thing in things) / len(things)
            self.assertAlmostEqual(share, 1 / 3, delta=0.02)
        self.assertTrue(all(SIZES[0][0] <= thing.size <= SIZES[2][1] for thing in things))
        numbers = Counter(len(scene.things) for scene in drawn)
        self.assertEqual(set(numbers), set(range(FEWEST, MOST + 1)))
        self.assertTrue(all(count > 1500 / 7 * 0.7 for count in numbers.values()))
        aspects = Counter(scene.aspect for scene in drawn)
        self.assertTrue(all(aspects[name] > 1500 / 5 * 0.8 for name in ASPECTS))

    def test_signs_are_large_enough_to_be_read(self):
        signs = [t for scene in scenes() for t in scene.things if KINDS[t.kind].text]
        self.assertGreater(len(signs), SCENES / 4)
        for sign in signs:
            self.assertGreaterEqual(sign.size, smallest_sign(KINDS[sign.kind].text))

    def test_something_shares_a_name_or_a_colour_with_another_thing(self):
        for scene in scenes():
            kinds = [KINDS[thing.kind] for thing in scene.things]
            names = Counter(kind.shape or kind.name for kind in kinds)
            colors = Counter(kind.color for kind in kinds if kind.color)
            self.assertTrue(max(names.values()) > 1 or max(colors.values(), default=0) > 1)

    def test_a_seed_gives_the_same_scenes_again_and_splits_differ(self):
        self.assertEqual(scenes(20), scenes(20))
        firsts = [WORLD.scene(rng_of(split, "1")) for split in SPLITS]
        self.assertEqual(len(set(firsts)), len(SPLITS))
        self.assertRaises(ValueError, rng_of, "tests", "1")


class Clips(unittest.TestCase):
    def test_moving_things_keep_to_one_direction_and_out_of_the_way(self):
        for clip in clips():
            self.assertIn(len(clip.frames), range(2, 9))
            for frame in clip.frames:
                for number, thing in enumerate(frame.things):
                    self.assertFalse(any(overlap(thing, other) for other in frame.things[:number]))
            first, last = clip.frames[0], clip.frames[-1]
            moved = {}
            for thing in first.things:
                end = next(t for t in last.things if t.kind == thing.kind)
                moved[thing.kind] = (end.x - thing.x, end.y - thing.y)
            for move in clip.moves:
                across, down = DIRECTIONS[move.direction]
                dx, dy = moved.pop(move.kind)
                self.assertGreaterEqual(dx * across + dy * down, SHORTEST_MOVE - 1e-6)
                self.assertAlmostEqual(dx * down + dy * across, 0)
            self.assertTrue(all(shift == (0, 0) for shift in moved.values()))

    def test_what_appears_is_missing_at_first_and_stays(self):
        found = [clip for clip in clips() if clip.appeared is not None]
        self.assertGreater(len(found), 50)
        for clip in found:
            shown = [clip.appeared in [t.kind for t in frame.things] for frame in clip.frames]
            self.assertEqual(shown, sorted(shown))
            self.assertFalse(shown[0])
            self.assertTrue(shown[-1])


class Questions(unittest.TestCase):
    def ask(self, category, scene, times=400):
        """Every question of one category that comes up in some tries, by text."""
        rng, asker = Random(category), Asker(WORLD, slack=10**6)
        asked = (asker.ask(category, scene, rng) for _ in range(times))
        return {question.text: question for question in asked if question}

    def test_answers_are_right_for_a_scene_made_by_hand(self):
        scene = hand_made(("dog", 40, 40, 40), ("cat", 296, 168, 50), ("red circle", 168, 168, 60),
                          ("blue circle", 40, 296, 40), ("red circle", 296, 296, 40))
        self.assertEqual(self.ask("at", scene)["What is at the top left?"].answer, "A dog")
        self.assertEqual(self.ask("where", scene)["Where is the cat?"].answer, "Middle right")
        count = self.ask("count", scene)
        self.assertEqual(count["Count the circles."].answer, "3")
        self.assertEqual(count["Count the red circles."].answer, "2")
        self.assertEqual(count["Count the red circles."].evidence, ((0, 2), (0, 4)))
        colours = self.ask("colour", scene)
        self.assertEqual(colours["What color is the circle at the bottom left?"].answer, "Blue")
        self.assertNotIn("What color is the circle?", colours)
        self.assertEqual(self.ask("total", scene)["How many things are there?"].answer, "5")
        left = self.ask("left", scene)
        self.assertEqual(left["Is the dog left of the cat?"].answer, "Yes")
        self.assertEqual(left["Is the cat left of the dog?"].answer, "No")
        self.assertEqual(left["Is the cat left of the dog?"].evidence, ((0, 0), (0, 1)))
        below = self.ask("below", scene)
        self.assertEqual(below["Is the blue circle below the dog?"].answer, "Yes")
        self.assertFalse(any("red circle" in text for text in below))  # there are two
        described = self.ask("describe", scene)["Describe the picture."]
        self.assertEqual(described.answer, "The picture shows a dog, two red circles, a cat and a blue circle.")
        self.assertEqual(described.names, ("dog", "red circles", "cat", "blue circle"))

    def test_thirds_are_those_of_the_picture_without_padding(self):
        scene = hand_made(("dog", 40, 20, 30), ("cat", 168, 94, 30), ("owl", 300, 170, 30), aspect="16:9")
        self.assertEqual([place(thing, scene) for thing in scene.things], ["top left", "center", "bottom right"])

    def test_nothing_is_asked_where_people_could_argue(self):
        between = hand_made(("dog", 112, 40, 40), ("cat", 296, 296, 40), ("owl", 40, 296, 40))
        self.assertFalse(any("dog" in text for text in self.ask("where", between)))
        close = hand_made(("dog", 100, 40, 40), ("cat", 110, 100, 40), ("owl", 300, 300, 40))
        self.assertFalse(any("dog" in text and "cat" in text for text in self.ask("left", close)))
        trees = hand_made(("tree", 40, 40, 40), ("palm tree", 168, 168, 40), ("owl", 300, 300, 40))
        for category in ("where", "count", "left", "above"):
            asked = self.ask(category, trees)
            self.assertTrue(any("palm tree" in text for text in asked))
            self.assertFalse(any(" the tree" in text or " trees are" in text and "palm" not in text for text in asked))
        large = hand_made(("dog", 40, 40, 40), ("cat", 150, 60, 140), ("owl", 300, 300, 40))
        self.assertNotIn("What is at the top left?", self.ask("at", large))

    def test_what_is_missing_has_no_evidence_and_what_is_there_has_some(self):
        rng, asker = Random(3), Asker(WORLD)
        for scene in scenes(200):
            for category in PICTURE_CATEGORIES:
                question = asker.ask(category, scene, rng)
                if question:
                    missing = question.answer == "0" or category == "exists" and question.answer == "No"
                    self.assertEqual(question.evidence == (), missing, question)

    def test_answers_are_balanced_for_every_stream_of_questions(self):
        rng, asker = Random(4), Asker(WORLD)
        answers = {category: Counter() for category in CATEGORIES}
        for scene, clip in zip(scenes(900), clips(900)):
            for category in PICTURE_CATEGORIES + CLIP_CATEGORIES:
                question = asker.ask(category, scene if category in PICTURE_CATEGORIES else clip, rng)
                if question:
                    answers[category][question.answer] += 1
        for predicate in ("exists", "left", "right", "above", "below"):
            self.assertAlmostEqual(answers[predicate]["Yes"] / answers[predicate].total(), 0.5, delta=0.03)
        for category in ("where", "colour", "count", "total", "motion"):
            even = answers[category].total() / len(VALUES[category])
            self.assertEqual(len(answers[category]), len(VALUES[category]))
            self.assertTrue(all(abs(count - even) < 0.2 * even for count in answers[category].values()), category)

    def test_balance_prefers_what_was_asked_least(self):
        options = [Option({}, value, (), "", value) for value in ("yes", "no")]
        balance, rng = Balance(slack=0), Random(1)
        chosen = [balance.choose("left", options, rng).value for _ in range(10)]
        self.assertEqual(Counter(chosen), {"yes": 5, "no": 5})
        self.assertIsNotNone(balance.choose("left", options[:1], rng))
        self.assertIsNone(balance.choose("left", options[:1], rng))

    def test_clip_evidence_is_where_the_thing_is_in_each_frame(self):
        rng, asker = Random(5), Asker(WORLD)
        for clip in clips(60):
            for category in CLIP_CATEGORIES:
                question = asker.ask(category, clip, rng)
                if question:
                    kinds = {clip.frames[frame].things[thing].kind for frame, thing in question.evidence}
                    self.assertEqual(len(kinds), 1)
                    shown = [n for n, frame in enumerate(clip.frames) if kinds & {t.kind for t in frame.things}]
                    self.assertEqual([frame for frame, _ in question.evidence], shown)

    def test_text_questions_are_answered_right(self):
        rng, asker = Random(6), TextAsker(KINDS)
        asked = {question.subject: question.answer for question in (asker.ask(rng) for _ in range(3000))}
        for subject, answer in asked.items():
            if subject[0] == "sum":
                self.assertEqual(int(answer), int(subject[1]) + int(subject[2]))
            elif subject[0] == "letter":
                self.assertEqual(answer, subject[1][0].upper())
        self.assertEqual(asked["opposite", "left"], "Right")
        self.assertEqual(asked["plural", "mouse"], "Mice")
        self.assertEqual({subject[0] for subject in asked}, set(TEXT_TEMPLATES))

    def test_every_question_can_be_put_in_several_ways(self):
        self.assertTrue(all(len(set(ways)) >= 3 for ways in (*TEMPLATES.values(), *TEXT_TEMPLATES.values())))
        self.assertEqual(set(TEMPLATES) | {"text"}, set(CATEGORIES))


if __name__ == "__main__":
    unittest.main()
