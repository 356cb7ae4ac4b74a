"""The sequence of candidates against one champion: levels, numbers, and what spends nothing."""

import pytest
from scipy.special import zeta

from cellassets.judging.sequence import ALL_SHARES, DECAY, Place, Sequence, describe_turn, level_of, share_of


def place(number, p_value=0.2, evidence="scores"):
    return Place(number=number, evidence=evidence, p_value=p_value)


def test_all_shares_sum_to_one_and_the_first_levels_are_those_worked_by_hand():
    assert zeta(DECAY) == pytest.approx(ALL_SHARES, rel=1e-12)
    assert [share_of(1), share_of(32)] == pytest.approx([0.178840, 0.178840 / 64], rel=1e-5)
    assert level_of(1, 0.05) == pytest.approx(0.5 * 0.05 * 0.178840, rel=1e-5)


def test_the_exponent_gives_more_than_smaller_and_larger_ones_between_the_34th_and_the_590th_candidate():
    for number, is_best in ((33, False), (36, True), (580, True), (600, False)):
        others = [number**-decay / zeta(decay) for decay in (1.1, 1.3)]
        assert bool(share_of(number) >= max(others)) is is_best


def test_candidates_take_numbers_and_one_that_scores_no_higher_takes_none():
    sequence = Sequence()
    for key, p_value, number in (("a.v1", 0.2, 1), ("b.v1", 0.9, 2), ("c.v1", 0.5, 2), ("d.v1", 0.51, 3)):
        assert sequence.number_of(key, "scores") == number
        sequence = sequence.after(key, place(number, p_value))
    assert sequence.n_counted == 2
    assert sequence.number_of("e.v1", "scores") == 3


def test_judging_again_by_the_same_scores_spends_nothing_and_by_others_takes_the_next_number():
    sequence = Sequence().after("a.v1", place(1)).after("b.v1", place(2))
    assert sequence.number_of("a.v1", "scores") == 1
    assert sequence.after("a.v1", place(1)) is sequence
    assert sequence.number_of("a.v1", "more wells") == 3
    again = sequence.after("a.v1", place(3, evidence="more wells"))
    assert again.n_counted == 3
    assert again.places["a.v1"].number == 3


def test_a_candidate_before_its_turn_takes_the_number_of_its_turn():
    assert Sequence(n_counted=4).number_of("z.v1", "scores", n_passed_over=10) == 15


def test_what_is_left_of_alpha_is_what_all_later_levels_sum_to():
    sequence = Sequence(n_counted=3)
    later = 1 - sum(share_of(number) for number in (1, 2, 3))
    assert sequence.alpha_left(0.05) == pytest.approx(0.05 * later)
    assert Sequence().alpha_left(0.05) == pytest.approx(0.05)


def test_a_turn_is_one_sentence_for_people():
    summary = {"number": 3, "previous_champion": "a.v1", "level": 0.00119, "p_value": 0.2, "alpha_left": 0.0342}
    said = "number 3 against a.v1: level 0.0012, p = 0.2; 0.034 of alpha is left for later candidates"
    assert describe_turn(summary) == said
    assert ", not compared; " in describe_turn({**summary, "p_value": None})
    assert describe_turn({}) == "no champion to compare with: not a part of any sequence"
