"""The judge, before histories made by hand: each fault is seen, and what is no fault is not."""

from __future__ import annotations

import pytest

from tests.chaos.histories import History, Injury, News, Span, Term, Write, read_history
from tests.chaos.verdict import falling, gaps, judge, lags, lateness, overlaps, recoveries, stale, stretches, twice

WHOLE = Span(0.0, 20.0)


def term(who, token, began, ended, **more):
    return Term(who, token, began, ended, **{"how": "resigned", **more})


def admitted(count, token, began, ended):
    return Write(count, token, began, ended, True)


def injury(began, answered, **more):
    return Injury("node paused", "", began, answered, answered, **{"of_worker": False, "forgets": False, **more})


def test_terms_one_after_the_other_do_not_overlap():
    assert overlaps([term("a", 1, 0.0, 1.0), term("b", 2, 1.0, 2.0), term("a", 3, 2.5, 3.0)]) == []


def test_a_term_that_began_while_another_was_held_overlaps():
    (found,) = overlaps([term("b", 2, 0.9, 2.0), term("a", 1, 0.0, 1.0)])

    assert (found.one.who, found.other.who) == ("a", "b")
    assert found.seconds == pytest.approx(0.1)


def test_an_overlap_with_an_older_term_is_not_hidden_by_a_short_one_in_between():
    found = overlaps([term("a", 1, 0.0, 9.0), term("b", 2, 1.0, 2.0), term("c", 3, 3.0, 4.0)])

    assert [(overlap.one.who, overlap.other.who, overlap.seconds) for overlap in found] == [
        ("a", "b", 1.0),
        ("a", "c", 1.0),
    ]


@pytest.mark.parametrize(("how", "expected"), [("cut short", 1), ("resigned", 0), ("lost", 0)])
def test_the_claim_of_a_killed_holder_stands_to_its_deadline_and_no_others(how, expected):
    killed = term("a", 1, 0.0, 1.0, until=3.0, how=how)

    assert len(overlaps([killed, term("b", 2, 2.0, 2.5)])) == expected


def test_tokens_must_rise_with_every_term():
    assert falling([term("a", 1, 0.0, 1.0), term("b", 5, 1.0, 2.0), term("c", 7, 2.0, 3.0)]) == []
    assert [bad.who for bad in falling([term("a", 5, 0.0, 1.0), term("b", 5, 1.0, 2.0), term("c", 4, 2.0, 3.0)])] == [
        "b",
        "c",
    ]


def test_a_lock_without_tokens_has_none_that_fall():
    assert falling([term("a", 0, 0.0, 1.0), term("b", 0, 1.0, 2.0)]) == []


def test_a_write_under_an_older_token_is_stale_by_the_order_of_counts():
    assert [write.token for write in stale([admitted(1, 5, 0.0, 9.0), admitted(2, 4, 0.0, 9.0)])] == [4]


def test_a_write_under_an_older_token_is_stale_by_the_order_of_time():
    assert [write.token for write in stale([admitted(2, 5, 0.0, 1.0), admitted(1, 4, 1.5, 2.0)])] == [4]


def test_a_refused_write_is_what_a_fence_is_for():
    assert stale([admitted(1, 5, 0.0, 1.0), Write(2, 4, 1.5, 2.0, False)]) == []


def test_writes_that_ran_at_once_are_not_ordered_by_time():
    assert stale([admitted(2, 5, 0.0, 1.0), admitted(1, 4, 0.5, 2.0)]) == []


def test_a_number_made_twice_is_a_lost_update():
    assert twice([admitted(1, 1, 0, 1), admitted(2, 1, 1, 2), admitted(2, 2, 2, 3), Write(2, 1, 3, 4, False)]) == 1


def test_gaps_are_what_no_term_covers():
    terms = [term("a", 1, 2.0, 5.0), term("b", 2, 4.0, 6.0), term("c", 3, 9.0, 8.9), term("d", 4, 12.0, 30.0)]

    assert gaps(terms, WHOLE) == [Span(0.0, 2.0), Span(6.0, 9.0), Span(9.0, 12.0)]


def test_without_any_term_all_is_a_gap():
    assert gaps([], WHOLE) == [WHOLE]


def test_a_gap_is_excused_while_the_store_does_not_answer():
    assert stretches(Span(0.0, 10.0), [injury(3.0, 6.0)], 2.0) == [Span(0.0, 3.0), Span(6.0, 10.0)]


def test_a_gap_is_excused_while_a_memory_settles():
    assert stretches(Span(0.0, 10.0), [injury(3.0, 6.0, forgets=True)], 2.0) == [Span(0.0, 3.0), Span(8.0, 10.0)]


def test_a_gap_is_counted_anew_when_a_worker_is_hurt():
    assert stretches(Span(0.0, 10.0), [injury(3.0, 6.0, of_worker=True)], 2.0) == [Span(0.0, 3.0), Span(3.0, 10.0)]


def test_injuries_elsewhere_excuse_nothing():
    assert stretches(Span(5.0, 10.0), [injury(1.0, 2.0), injury(12.0, 13.0, of_worker=True)], 2.0) == [Span(5.0, 10.0)]


def recovered(*gaps_and_injuries):
    gaps = [one for one in gaps_and_injuries if isinstance(one, Span)]
    return recoveries(gaps, [one for one in gaps_and_injuries if one not in gaps], WHOLE, 2.0)


def test_a_recovery_counts_from_the_stores_answer_to_the_next_leader():
    assert recovered(injury(3.0, 6.0), Span(4.0, 7.5)) == ([1.5], [])
    assert recovered(injury(3.0, 6.0, forgets=True), Span(4.0, 8.5)) == ([0.5], [])


def test_a_fault_that_somebody_led_through_needs_no_recovery():
    assert recovered(injury(3.0, 6.0), Span(4.0, 5.0), Span(7.0, 8.0)) == ([], [])
    assert recovered(injury(3.0, 6.0, of_worker=True), Span(4.0, 7.5)) == ([], [])


def test_a_recovery_that_the_next_fault_cuts_short_is_told_apart_from_one_that_was_seen():
    assert recovered(injury(3.0, 6.0), injury(7.0, 8.0), Span(4.0, 8.5)) == ([0.5], [1.0])
    assert recovered(injury(3.0, 18.0), Span(4.0, 20.0)) == ([], [2.0])


def test_news_are_late_by_what_a_running_process_waited_past_its_deadline():
    terms = [term("a", 1, 0.0, 1.0, until=3.0), term("a", 2, 5.0, 6.0, until=9.0)]

    assert lateness(News("a", 1, 4.0, "expired"), terms, []) == 1.0
    assert lateness(News("a", 1, 4.0, "expired"), terms, [Span(2.5, 3.75)]) == 0.25
    assert lateness(News("a", 2, 8.0, "revoked"), terms, []) == -1.0
    assert lateness(News("b", 2, 8.0, "revoked"), terms, []) is None


def test_a_moment_in_which_two_did_not_run_is_left_out_once():
    late = lateness(News("a", 1, 4.0, "expired"), [term("a", 1, 0.0, 1.0, until=3.0)], [Span(2.5, 3.5), Span(3.2, 3.6)])

    assert late == pytest.approx(0.4)


def test_a_process_that_was_stopped_on_purpose_says_nothing_about_the_machine():
    history = History(stillness={"0-11": [Span(1.0, 2.0), Span(6.0, 6.1)], "1-12": [Span(1.5, 1.6)]})
    stopped = Injury("worker stopped", "0 1.0 s", 0.9, 2.1, 2.1, True, False)

    assert lags([history], [stopped]) == [Span(6.0, 6.1), Span(1.5, 1.6)]


def judged(history, *injuries, still=()):
    return judge(history, list(injuries), WHOLE, ttl=2.0, rho=0.005, still=still)


def test_a_good_history_breaks_nothing():
    history = History(
        terms=[term("a", 1, 0.5, 10.0), term("b", 2, 12.5, 20.0)],
        fenced=[admitted(1, 1, 1.0, 1.1), admitted(2, 2, 13.0, 13.1), Write(3, 1, 14.0, 14.1, False)],
        plain=[admitted(1, 0, 1.0, 1.1)],
        news=[News("a", 1, 10.05, "expired")],
    )
    history.terms[0].until = 10.0
    history.terms[0].how = "lost"

    verdict = judged(history)

    assert verdict.broken == []
    assert (verdict.terms, verdict.refused, verdict.takeovers) == (2, 1, [2.5])
    assert verdict.longest_gap == Span(10.0, 12.5)


def test_each_broken_promise_is_named():
    history = History(
        terms=[term("a", 3, 0.0, 5.0, until=5.0), term("b", 2, 4.0, 8.0), term("c", 4, 15.0, 20.0)],
        fenced=[admitted(1, 3, 1.0, 1.1), admitted(2, 2, 2.0, 2.1), admitted(2, 4, 16.0, 16.1)],
        news=[News("a", 3, 6.0, "expired")],
    )

    assert judged(history).broken == [
        "1 overlaps",
        "1 falling tokens",
        "1 stale writes admitted",
        "1 updates behind the fence lost",
        "1 late news, the latest 1.00 s",
        "1 times no leader for too long",
    ]


def test_a_machine_that_stood_excuses_as_long_as_it_stood():
    history = History(terms=[term("a", 1, 0.0, 10.0), term("b", 2, 13.5, 20.0)])

    assert judged(history).broken == ["1 times no leader for too long"]
    assert judged(history, still=[Span(11.0, 12.0)]).broken == []


def test_records_are_read_back_without_the_half_line_of_a_kill(tmp_path):
    (tmp_path / "ours-0-11").write_text(
        "held 7 1.0 1.1 3.0\nheld 7 2.0 2.1 4.0\nrenewed 7 2.1 0.9\nfenced 7 1 2.2 2.3\nplain 1 2.3 2.4\n"
        "ended 7 2.5 resigned\nheld 9 5.0 5.1 7.0\nlag 5.2 6.0\nnews 9 7.0 expired\nrefused 7 2 7.1 7.2\nheld 9 6.9 7."
    )
    (tmp_path / "native-0-12").write_text("held 0 1.0 1.1 0.0\n")

    history = read_history(tmp_path, "ours")

    assert history.terms == [
        Term("0-11", 7, 1.1, 2.0, 4.0, "resigned", 2.5),
        Term("0-11", 9, 5.1, 5.1 - 0.1, 7.0, "cut short", 0.0),
    ]
    assert history.terms[1].claimed == Span(5.1, 7.0)
    assert history.fenced == [Write(1, 7, 2.2, 2.3, True), Write(2, 7, 7.1, 7.2, False)]
    assert history.plain == [Write(1, 0, 2.3, 2.4, True)]
    assert history.news == [News("0-11", 9, 7.0, "expired")]
    assert history.margins == [0.9]
    assert history.stillness == {"0-11": [Span(5.2, 6.0)]}
