"""Which test keeps which trap from closing on us, by the numbers of the list of traps.

``1`` to ``43``: found in Python's libraries; ``B1`` to ``B22``: in any language's; ``S1`` to ``S12``: in the shape of
well-loved ones; ``D1`` to ``D12``: in designs like this. Named are tests that are to fail where that mistake is made.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TRAPS = {
    "1": """
        the_body_runs_only_with_the_lease
        whoever_is_not_elected_does_not_enter
    """,
    "2": """
        expired
        a_leader_stopped_past_its_ttl_knows_at_its_first_look_and_is_refused
    """,
    "3": "it_is_elected_again_after_a_loss_with_a_new_token",
    "4": "a_session_deleted_or_overwritten_by_hand_is_lost_at_the_next_renewal",
    "5": """
        a_driver_s_bugs_never_kill_the_loop
        a_broken_wait_strategy_costs_no_lease
    """,
    "6": "a_failed_renewal_is_tried_again_while_the_deadline_is_ahead",
    "7": """
        a_renewal_that_never_returns_does_not_delay_loss
        the_deadline_fires_without_any_call
    """,
    "8": """
        a_renewal_that_never_returns_does_not_delay_loss
        expired
    """,
    "9": "the_deadline_is_counted_from_before_sending",
    "10": """
        a_step_of_the_wall_clock_moves_no_deadline_and_a_suspended_machine_s_time_counts
        a_wall_clock_set_back_makes_nothing_suspect
    """,
    "11": "a_lost_reply_to_an_acquire_does_not_lock_its_own_client_out",
    "12": "a_lost_reply_to_a_release_is_not_a_false_not_owned",
    "13": "resigning_ends_the_claim_before_the_store_is_told",
    "14": "two_guarded_coroutines_do_not_mix_their_leases",
    "15": "a_child_holds_nothing_and_every_method_of_its_parent_s_lease_says_so",
    "16": "collecting_a_client_makes_no_call",
    "17": """
        a_body_left_late_does_not_resign_the_next_one_s_lease
        rule_11_the_claim_ends_before_the_release_and_the_release_is_repeated_until_done
        a_write_over_an_old_stamp_changes_nothing_and_shows_what_is_there
    """,
    "18": "of_many_writers_over_one_stamp_exactly_one_wins",
    "19": "options_that_cannot_work_are_refused_at_once",
    "20": "no_stamp_and_no_value_is_taken_for_an_order_to_delete_or_for_an_answer",
    "21": """
        a_failed_campaign_leaves_no_watch_and_no_timer_behind
        a_closed_client_leaves_no_thread_and_no_descriptor_behind
    """,
    "22": """
        wake_ups_do_not_restart_the_time_out
        one_budget_for_the_whole_call_whatever_the_store_does
    """,
    "23": "a_missed_wake_up_costs_less_than_half_a_ttl",
    "24": "who_is_up_to_half_an_interval_early_or_late_means_the_same_tick",
    "25": """
        a_run_that_outlasts_many_ttls_keeps_its_tick
        a_short_job_is_not_run_again_when_it_has_ended_before_the_next_host_comes
    """,
    "26": """
        a_busy_main_thread_keeps_its_lease
        a_leader_s_loop_that_is_blocked_for_longer_than_a_ttl_loses_nothing
    """,
    "27": "tokens_rise_over_terms_clients_and_wipes",
    "28": """
        tokens_rise_over_terms_clients_and_wipes
        a_wiped_store_has_another_memory_and_a_higher_floor
        tokens_go_on_above_the_old_ones_after_a_set_back_that_nobody_saw
        a_server_that_forgot_everything_in_a_restart_has_no_two_leaders_and_higher_tokens
    """,
    "29": "the_token_is_drawn_in_the_very_write_that_takes_the_name",
    "30": "two_clients_of_one_process_exclude_each_other",
    "31": "a_machine_that_breaks_gives_everything_up_and_says_so",
    "32": "a_loss_cancels_the_coroutine_which_raises_lease_lost",
    "33": "after_a_loss_the_same_client_is_elected_anew",
    "34": "ten_thousand_leases_cost_one_write_a_renewal_four_threads_and_two_kib_each",
    "35": "a_second_client_of_a_process_does_not_change_the_first_one_s_settings",
    "36": "no_command_of_a_person_s_deletes_what_others_have_nor_forgets_a_token",
    "37": "nobody_is_locked_out_by_a_dependency_of_ours",
    "38": "a_watch_is_not_ended_by_the_time_out_of_the_client_that_was_lent",
    "39": "less_than_a_second_is_not_cut_to_none",
    "40": "a_short_job_is_not_run_again_when_it_has_ended_before_the_next_host_comes",
    "41": """
        the_holders_second_write_is_admitted
        the_holders_second_transaction_is_admitted
        the_greatest_tokens_are_told_apart
    """,
    "42": """
        callbacks_that_block_or_raise_never_delay_renewals
        a_store_s_callback_is_never_blocked_by_a_wake
        the_owner_s_own_callbacks_come_while_leaderlock_is_in_the_middle_of_something
    """,
    "43": "back_off_has_jitter_grows_and_is_cut",
    "B1": "tokens_rise_over_terms_clients_and_wipes",
    "B2": "a_second_candidate_in_one_client_is_refused_at_once_and_nothing_is_lost",
    "B3": "the_token_never_changes_during_a_term",
    "B4": "the_deadline_is_counted_from_before_sending",
    "B5": "a_renewal_that_never_returns_does_not_delay_loss",
    "B6": "the_body_runs_only_with_the_lease",
    "B7": "durations_that_cannot_work_are_refused_with_the_rule_and_the_numbers",
    "B8": "a_name_deleted_by_hand_and_taken_by_another_is_lost_when_it_is_read",
    "B9": "two_clients_of_one_process_exclude_each_other",
    "B10": """
        a_blip_of_the_store_deposes_nobody
        an_answer_lost_on_its_way_is_recognised_by_what_is_there
    """,
    "B11": """
        a_family_that_ignores_term_is_gone_before_the_deadline
        a_command_is_ended_in_time_when_the_store_stops_answering
    """,
    "B12": "a_late_answer_does_not_revive_a_lease_whose_deadline_has_passed",
    "B13": """
        a_short_job_is_not_run_again_when_it_has_ended_before_the_next_host_comes
        five_crontab_lines_at_the_same_second_run_once
    """,
    "B14": """
        rule_19_what_is_over_is_deleted_a_day_later_at_the_earliest_and_a_note_never
        ten_thousand_that_are_over_are_cleaned_away_and_nobody_else
    """,
    "B15": """
        suspended
        a_step_of_the_wall_clock_moves_no_deadline_and_a_suspended_machine_s_time_counts
    """,
    "B16": "ten_thousand_that_are_over_are_cleaned_away_and_nobody_else",
    "B17": """
        the_contract_finds
        every_trait_is_declared_and_plausible
    """,
    "B18": "a_store_that_loses_every_third_answer_keeps_its_leader",
    "B19": "losing_the_session_loses_all_leases_at_once_each_with_its_own_news",
    "B20": """
        a_new_leader_waits_for_the_old_ones_transaction_and_then_sees_what_it_wrote
        an_old_leader_whose_transaction_began_before_the_new_one_stamped_never_commits
    """,
    "B21": """
        a_dead_runner_is_followed_at_least_once_under_a_higher_token
        a_missed_tick_is_run_where_that_is_asked_for_and_inside_its_window
        it_is_bounded_whatever_happens
    """,
    "B22": "a_failed_campaign_leaves_no_watch_and_no_timer_behind",
    "S1": "a_look_takes_no_lock_and_makes_no_call",
    "S2": "the_deadline_is_counted_from_before_sending",
    "S3": "a_renewal_that_never_returns_does_not_delay_loss",
    "S4": "a_driver_s_bugs_never_kill_the_loop",
    "S5": "a_failed_renewal_is_tried_again_while_the_deadline_is_ahead",
    "S6": "a_session_deleted_or_overwritten_by_hand_is_lost_at_the_next_renewal",
    "S7": "listeners_are_called_in_order_each_once_and_one_that_raises_stops_nobody",
    "S8": """
        a_body_left_late_does_not_resign_the_next_one_s_lease
        a_register_overwritten_by_hand_conflicts_with_its_writer
    """,
    "S9": """
        a_store_keeps_its_memory_through_a_restart_exactly_if_its_traits_say_so
        a_store_pushes_exactly_if_its_traits_say_so
        a_hook_that_is_neither_given_nor_declared_fails_its_tests
    """,
    "S10": "a_duration_is_a_number",
    "S11": "durations_that_cannot_work_are_refused_with_the_rule_and_the_numbers",
    "S12": """
        a_step_of_the_wall_clock_moves_no_deadline_and_a_suspended_machine_s_time_counts
        the_wall_clock_is_read_in_one_module_only
        a_wrong_wall_clock_costs_who_does_not_wait_only_time
    """,
    "D1": "a_name_overwritten_by_hand_is_lost_when_it_is_read",
    "D2": """
        an_old_client_s_write_does_not_fit_a_store_that_was_wiped_and_is_in_use_again
        in_a_wiped_cluster_an_old_write_does_not_fit_and_tokens_still_rise
    """,
    "D3": """
        a_write_that_meets_another_replication_id_is_not_applied
        a_master_that_was_demoted_under_an_open_connection_takes_no_write
        an_old_client_s_write_does_not_fit_a_store_that_was_wiped_and_is_in_use_again
    """,
    "D4": """
        rule_7_an_absent_session_is_buried_where_it_is_not_and_only_after_the_longest_ttl
        rule_6_an_absence_does_not_count_from_when_the_record_could_not_be_read
    """,
    "D5": """
        a_campaign_given_up_after_a_time_out_cannot_win_a_minute_later
        rule_13_an_orphan_is_released_as_soon_as_it_is_seen
    """,
    "D6": """
        a_touch_writes_what_the_take_expected_and_not_what_a_lagging_read_showed_since
        rule_9_under_another_stamp_it_is_ours_by_session_and_token_together
    """,
    "D7": """
        who_does_not_wait_still_follows_a_dead_leader
        ticks_that_come_more_often_than_a_ttl_outlive_a_dead_host
        ticks_that_come_more_often_than_a_store_settles_are_run_in_the_end
    """,
    "D8": "after_a_sleep_and_a_slew_a_wait_of_a_hundred_seconds_is_a_hundred_seconds",
    "D9": "clients_of_different_terms_are_refused_and_told_what_to_do",
    "D10": "requests_are_one_per_requester_and_name_and_bounded",
    "D11": """
        killing_the_wrapper_ends_the_family_and_the_guardian
        a_stopped_wrapper_does_not_prolong_the_command_and_is_told_later
    """,
    "D12": "a_store_that_cannot_be_is_refused_with_the_ones_that_can",
}


@pytest.fixture(scope="module")
def tests():
    return {
        node.name
        for folder in ("tests", "leaderlock/testing/contract")
        for file in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@pytest.mark.parametrize(("trap", "kept_by"), TRAPS.items(), ids=TRAPS)
def test_the_tests_that_keep_a_trap_from_closing_exist(tests, trap, kept_by):
    assert {f"test_{name}" for name in kept_by.split()} <= tests


def test_no_trap_is_forgotten():
    numbers = [str(number) for number in range(1, 44)]
    for letter, last in (("B", 22), ("S", 12), ("D", 12)):
        numbers += [f"{letter}{number}" for number in range(1, last + 1)]

    assert list(TRAPS) == numbers
