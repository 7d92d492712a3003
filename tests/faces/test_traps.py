"""Which test keeps which trap from closing on us, by the numbers of the list of traps.

``1`` to ``43``: found in Python's libraries; ``B1`` to ``B22``: in any language's; ``S1`` to ``S12``: in the shape of
well-loved ones; ``D1`` to ``D12``: in designs like this. What belongs to a driver, to ticks or to a fence is named by
the word alone, and tested there.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

ELSEWHERE = {"contract", "simulation", "drivers", "fences", "ticks", "cli", "aio", "packaging"}

TRAPS = {
    "1": "test_the_body_runs_only_with_the_lease",
    "2": "test_expired",
    "3": "test_it_is_elected_again_after_a_loss_with_a_new_token",
    "4": "test_a_session_deleted_or_overwritten_by_hand_is_lost_at_the_next_renewal",
    "5": "test_a_driver_s_bugs_never_kill_the_loop",
    "6": "test_a_failed_renewal_is_tried_again_while_the_deadline_is_ahead",
    "7": "test_the_deadline_fires_without_any_call",
    "8": "test_a_renewal_that_never_returns_does_not_delay_loss",
    "9": "test_the_deadline_is_counted_from_before_sending",
    "10": "test_a_wall_clock_set_back_makes_nothing_suspect",
    "11": "test_a_lost_reply_to_an_acquire_does_not_lock_its_own_client_out",
    "12": "test_a_lost_reply_to_a_release_is_not_a_false_not_owned",
    "13": "test_resigning_ends_the_claim_before_the_store_is_told",
    "14": "test_two_guarded_coroutines_do_not_mix_their_leases",
    "15": "test_a_child_holds_nothing_and_every_method_of_its_parent_s_lease_says_so",
    "16": "test_collecting_a_client_makes_no_call",
    "17": "test_a_body_left_late_does_not_resign_the_next_one_s_lease",
    "18": "contract",
    "19": "test_options_that_cannot_work_are_refused_at_once",
    "20": "drivers",
    "21": "test_a_failed_campaign_leaves_no_watch_and_no_timer_behind",
    "22": "test_wake_ups_do_not_restart_the_time_out",
    "23": "test_a_missed_wake_up_costs_less_than_half_a_ttl",
    "24": "ticks",
    "25": "ticks",
    "26": "test_a_busy_main_thread_keeps_its_lease",
    "27": "test_tokens_rise_over_terms_clients_and_wipes",
    "28": "test_tokens_rise_over_terms_clients_and_wipes",
    "29": "test_fifty_processes_and_random_kills_never_overlap_and_lose_no_update",
    "30": "test_two_clients_of_one_process_exclude_each_other",
    "31": "test_a_machine_that_breaks_gives_everything_up_and_says_so",
    "32": "test_a_loss_cancels_the_coroutine_which_raises_lease_lost",
    "33": "test_after_a_loss_the_same_client_is_elected_anew",
    "34": "test_ten_thousand_leases_cost_one_write_a_renewal_four_threads_and_two_kib_each",
    "35": "test_namespaces_keep_tenants_apart",
    "36": "test_a_forced_resignation_is_a_loss_when_the_name_or_the_request_is_read",
    "37": "packaging",
    "38": "drivers",
    "39": "test_less_than_a_second_is_not_cut_to_none",
    "40": "ticks",
    "41": "fences",
    "42": "test_callbacks_that_block_or_raise_never_delay_renewals",
    "43": "test_back_off_has_jitter_grows_and_is_cut",
    "B1": "test_tokens_rise_over_terms_clients_and_wipes",
    "B2": "test_a_second_candidate_in_one_client_is_refused_at_once_and_nothing_is_lost",
    "B3": "test_the_token_never_changes_during_a_term",
    "B4": "test_the_deadline_is_counted_from_before_sending",
    "B5": "test_a_renewal_that_never_returns_does_not_delay_loss",
    "B6": "test_the_body_runs_only_with_the_lease",
    "B7": "test_durations_that_cannot_work_are_refused_with_the_rule_and_the_numbers",
    "B8": "test_a_name_deleted_by_hand_and_taken_by_another_is_lost_when_it_is_read",
    "B9": "test_two_clients_of_one_process_exclude_each_other",
    "B10": "test_a_blip_of_the_store_deposes_nobody",
    "B11": "cli",
    "B12": "test_a_late_answer_does_not_revive_a_lease_whose_deadline_has_passed",
    "B13": "ticks",
    "B14": "simulation",
    "B15": "test_suspended",
    "B16": "simulation",
    "B17": "contract",
    "B18": "test_a_store_that_loses_every_third_answer_keeps_its_leader",
    "B19": "test_losing_the_session_loses_all_leases_at_once_each_with_its_own_news",
    "B20": "fences",
    "B21": "ticks",
    "B22": "test_a_failed_campaign_leaves_no_watch_and_no_timer_behind",
    "S1": "test_a_look_takes_no_lock_and_makes_no_call",
    "S2": "test_the_deadline_is_counted_from_before_sending",
    "S3": "test_a_renewal_that_never_returns_does_not_delay_loss",
    "S4": "test_a_driver_s_bugs_never_kill_the_loop",
    "S5": "test_a_failed_renewal_is_tried_again_while_the_deadline_is_ahead",
    "S6": "test_a_session_deleted_or_overwritten_by_hand_is_lost_at_the_next_renewal",
    "S7": "test_listeners_are_called_in_order_each_once_and_one_that_raises_stops_nobody",
    "S8": "contract",
    "S9": "contract",
    "S10": "test_a_duration_is_a_number",
    "S11": "test_durations_that_cannot_work_are_refused_with_the_rule_and_the_numbers",
    "S12": "test_a_wrong_wall_clock_costs_who_does_not_wait_only_time",
    "D1": "test_a_name_overwritten_by_hand_is_lost_when_it_is_read",
    "D2": "contract",
    "D3": "drivers",
    "D4": "simulation",
    "D5": "test_a_campaign_given_up_after_a_time_out_cannot_win_a_minute_later",
    "D6": "simulation",
    "D7": "test_who_does_not_wait_still_follows_a_dead_leader",
    "D8": "test_after_a_sleep_and_a_slew_a_wait_of_a_hundred_seconds_is_a_hundred_seconds",
    "D9": "test_clients_of_different_terms_are_refused_and_told_what_to_do",
    "D10": "test_requests_are_one_per_requester_and_name_and_bounded",
    "D11": "cli",
    "D12": "test_a_store_that_cannot_be_is_refused_with_the_ones_that_can",
}


@pytest.fixture(scope="module")
def tests():
    return {
        node.name
        for file in TESTS.rglob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@pytest.mark.parametrize(("trap", "kept_by"), TRAPS.items())
def test_the_test_that_keeps_a_trap_from_closing_exists(tests, trap, kept_by):
    assert kept_by in tests or kept_by in ELSEWHERE


def test_no_trap_is_forgotten():
    numbers = [str(number) for number in range(1, 44)]
    for letter, last in (("B", 22), ("S", 12), ("D", 12)):
        numbers += [f"{letter}{number}" for number in range(1, last + 1)]

    assert list(TRAPS) == numbers
