//! What went wrong in other tools, and the tests that would fail if it went wrong here.
//!
//! One row for each trap that was collected before this program was written. A row names tests by their last part, or says why it has
//! none. A test that is renamed or removed fails this one.

use std::fs;
use std::path::{Path, PathBuf};

use Answer::{Later, Tests};

/// How a trap is met.
enum Answer {
    /// These would fail.
    Tests(&'static [&'static str]),
    /// Not met, because what could fall into it is not built.
    Later(&'static str),
}

const TRAPS: &[(u8, &str, Answer)] = &[
    (
        1,
        "a plain dump that is cut restores with exit 0",
        Tests(&[
            "a_dump_without_its_trailer_is_never_published",
            "every_cut_before_the_closing_line_is_seen",
            "an_emptied_dump_is_refused",
            "every_broken_dump_is_caught_at_the_lowest_level_that_can_see_it",
            "nothing_is_whole_that_lacks_an_end_or_goes_on_after_it",
        ]),
    ),
    (
        2,
        "the trailer is not the last line",
        Tests(&["every_cut_before_the_closing_line_is_seen", "nothing_is_whole_that_lacks_an_end_or_goes_on_after_it"]),
    ),
    (
        3,
        "psql exits 0 although SQL failed",
        Tests(&[
            "a_restore_that_fails_leaves_no_database_and_says_why",
            "a_file_that_would_go_on_after_an_error_is_refused_before_it_starts",
            "a_transform_that_fails_is_told_by_file_and_line_and_nothing_it_did_is_seen",
        ]),
    ),
    (
        4,
        "pg_restore --list passes a cut archive",
        Tests(&[
            "every_cut_and_every_addition_is_seen",
            "every_damage_is_caught_at_the_lowest_level_that_can_see_it",
            "every_broken_dump_is_caught_at_the_lowest_level_that_can_see_it",
        ]),
    ),
    (
        5,
        "a flipped bit in an archive survives a parse",
        Tests(&[
            "a_restore_in_which_a_value_became_another_is_no_restore",
            "every_damage_is_caught_at_the_lowest_level_that_can_see_it",
            "a_flipped_bit_is_found_whatever_is_done_with_the_dump",
            "every_broken_dump_is_caught_at_the_lowest_level_that_can_see_it",
        ]),
    ),
    (
        6,
        "a failure in the middle of a pipe is hidden",
        Tests(&["killing_gpg_half_way_publishes_nothing_and_names_gpg", "a_source_that_dies_commits_nothing_and_says_why"]),
    ),
    (
        7,
        "decrypted bytes are used before they are proven",
        Tests(&[
            "every_cut_and_every_flip_is_an_error_at_the_end",
            "a_stream_that_fails_is_the_reason_told_and_leaves_no_database",
            "every_broken_dump_is_caught_at_the_lowest_level_that_can_see_it",
        ]),
    ),
    (
        8,
        "the key opens it, so the dump is thought good",
        Tests(&[
            "an_emptied_dump_is_refused",
            "every_damage_is_caught_at_the_lowest_level_that_can_see_it",
            "every_broken_dump_is_caught_at_the_lowest_level_that_can_see_it",
        ]),
    ),
    (
        9,
        "a child that dies half-way looks like a clean end",
        Tests(&[
            "a_source_that_dies_commits_nothing_and_says_why",
            "a_child_that_fails_or_stops_reading_is_an_error_however_much_it_wrote",
        ]),
    ),
    (
        10,
        "behind a filter the source's failure becomes an I/O error",
        Tests(&["a_source_that_dies_behind_gpg_is_told_in_its_own_words", "a_source_that_fails_is_an_error_in_its_own_words_both_ways"]),
    ),
    (
        11,
        "published before the exit status was read; a panic told as success",
        Tests(&[
            "a_panic_in_a_stage_publishes_nothing",
            "whatever_is_killed_and_whenever_every_published_dump_is_whole_and_nothing_else_is_left",
            "a_backup_whose_dump_does_not_hold_what_is_asserted_fails_and_the_dump_is_disproven",
        ]),
    ),
    (12, "skipped or silent is taken for good", Tests(&["status_says_ok_old_bad_none_or_unknown_and_exits_so"])),
    (
        13,
        "an empty dump with clean logs",
        Tests(&[
            "latest_passes_over_a_dump_that_shrank_until_a_few_agree",
            "a_newest_dump_that_shrank_stops_everything_until_a_few_agree",
            "every_broken_dump_is_caught_at_the_lowest_level_that_can_see_it",
        ]),
    ),
    (
        14,
        "200 with an error inside",
        Tests(&[
            "an_error_inside_an_answer_of_200_is_an_error",
            "completing_says_200_and_an_error",
            "what_the_store_holds_is_compared_and_taken_back_when_it_differs",
        ]),
    ),
    (15, "fixed parts end at 10,000", Tests(&["five_tebibytes_fit_into_ten_thousand_parts"])),
    (
        16,
        "an abort on a cancelled context never leaves",
        Tests(&[
            "an_aborted_upload_leaves_although_everything_was_cancelled_long_ago",
            "an_object_whose_manifest_cannot_be_written_is_taken_back_even_when_cancelled",
        ]),
    ),
    (17, "signed early, sent late", Tests(&["a_part_is_signed_when_it_is_full"])),
    (18, "checksums that a store refuses", Tests(&["a_store_without_checksums_is_served_as_well", "a_checksum_nobody_implemented"])),
    (
        19,
        "a listing that failed is taken for an empty one",
        Tests(&["a_listing_that_fails_is_no_empty_list", "a_missing_bucket_is_not_an_empty_one"]),
    ),
    (
        20,
        "clocks lie",
        Tests(&[
            "dumps_are_listed_by_their_data_and_owned_by_their_manifest",
            "a_dump_from_the_future_stops_everything",
            "a_lease_runs_out_by_the_clock_of_the_store_whatever_its_record_says",
        ]),
    ),
    (
        21,
        "the age rule deletes the last good dump",
        Tests(&[
            "after_months_of_failure_the_age_still_counts_from_the_last_success",
            "whatever_the_history_enough_proven_dumps_and_the_newest_good_one_stay",
            "whatever_the_history_and_the_policy_nothing_goes_that_was_to_stay",
        ]),
    ),
    (
        22,
        "a prefix purges another job",
        Tests(&["a_name_that_begins_alike_is_another_job", "what_may_go_goes_with_its_proofs_and_nothing_of_anothers"]),
    ),
    (
        23,
        "failed and future dumps take the place of good ones",
        Tests(&["failed_dumps_are_not_counted_and_do_not_stay_for_being_last", "a_dump_from_the_future_stops_everything"]),
    ),
    (24, "a delete that failed is forgotten", Tests(&["a_dump_that_could_not_be_removed_is_still_listed"])),
    (
        25,
        "a connection string where a database's name belongs",
        Tests(&[
            "a_database_named_like_a_connection_string_is_only_a_name",
            "a_database_name_cannot_redirect_a_client",
            "a_database_that_libpq_would_take_for_a_connection_string_is_refused",
        ]),
    ),
    (
        26,
        "drop before restore",
        Tests(&[
            "a_restore_that_fails_leaves_no_database_and_says_why",
            "whatever_is_killed_and_whenever_every_published_dump_is_whole_and_nothing_else_is_left",
            "a_damaged_dump_leaves_the_live_database_as_it_is",
            "a_pull_killed_anywhere_never_takes_the_live_database_away_nor_shows_a_row_that_is_not_sanitised",
        ]),
    ),
    (
        27,
        "a rename under connections",
        Tests(&[
            "a_swap_under_load_keeps_rights_and_settings_and_can_be_taken_back",
            "a_swap_gives_the_restored_database_what_the_live_one_has_now",
            "a_pull_killed_anywhere_never_takes_the_live_database_away_nor_shows_a_row_that_is_not_sanitised",
        ]),
    ),
    (28, "a restore into what is there doubles rows", Tests(&["a_restore_never_writes_into_a_database_that_exists"])),
    (
        29,
        "roles missing, statistics missing",
        Tests(&[
            "what_was_dumped_is_restored_and_counts_the_same_in_both_layouts",
            "roles_that_are_missing_are_all_told_before_anything_is_made_or_are_made_when_told_so",
            "owners_rights_and_settings_come_back_from_a_dump_that_recorded_them",
            "a_clean_copy_is_restored_sanitised_proven_and_swapped_in",
        ]),
    ),
    (30, "a copy that acts as if it were production", Tests(&["a_copy_neither_subscribes_nor_runs_jobs_nor_reaches_production"])),
    (
        31,
        "sanitised after the swap",
        Tests(&[
            "a_pull_killed_anywhere_never_takes_the_live_database_away_nor_shows_a_row_that_is_not_sanitised",
            "nobody_gets_into_the_copy_before_it_is_live_and_a_superuser_not_for_long",
            "a_transform_that_fails_is_told_by_file_and_line_and_nothing_it_did_is_seen",
            "what_the_scan_finds_in_any_kind_of_column_refuses_and_is_told_by_its_place",
        ]),
    ),
    (
        32,
        "pg_dump older than the server",
        Tests(&[
            "a_client_older_than_the_server_is_refused_before_it_starts",
            "a_dump_of_every_major_is_restored_into_a_server_of_its_own_major",
        ]),
    ),
    (
        33,
        "PostgreSQL refuses root",
        Tests(&[
            "a_cluster_started_by_root_runs_as_somebody_else_and_says_so",
            "a_dump_of_every_major_is_restored_into_a_server_of_its_own_major",
        ]),
    ),
    (34, "point-in-time recovery that silently is not", Later("there is no point-in-time recovery")),
    (
        35,
        "locks that outlive a kill, heartbeats that starve",
        Tests(&[
            "a_second_process_is_refused_while_the_first_holds_the_run",
            "after_kill_nine_the_same_host_goes_on_at_once_and_another_when_the_lease_has_run_out",
            "a_store_that_is_away_for_longer_than_the_lease_does_not_end_a_healthy_job",
        ]),
    ),
    (36, "a journal written at exit", Tests(&["the_production_restore_killed_after_every_event_gets_the_database_back_all_the_same"])),
    (37, "resumed against another runbook", Tests(&["a_resume_refuses_another_plan_another_environment_and_a_broken_journal"])),
    (38, "a mistyped step is nothing to do", Tests(&["every_wrong_runbook_is_told_all_that_is_wrong_with_it"])),
    (
        39,
        "waiting for a person counted as the machine's time",
        Tests(&["without_a_terminal_it_proves_every_objective_and_leaves_only_its_report"]),
    ),
    (40, "secrets where they can be read", Tests(&["no_secret_is_seen_anywhere", "no_message_repeats_a_secret"])),
    (
        41,
        "cleaning up skipped when the check fails",
        Tests(&[
            "throwaway_homes_and_their_agents_are_gone_after_success_and_after_failure",
            "a_killed_process_takes_its_servers_with_it_and_its_box_is_swept",
            "a_killed_proof_takes_its_server_with_it_and_the_next_one_clears_its_directory",
            "a_proof_that_is_stopped_ends_its_server_and_leaves_no_record",
        ]),
    ),
    (42, "a pager or a prompt hangs a child", Tests(&["a_child_has_no_terminal_and_nothing_to_read"])),
    (43, "a timeout that was right until the data grew", Tests(&["a_part_is_taken_by_nobody", "an_answer_drips"])),
    (44, "a terminal that went away", Tests(&["a_terminal_that_goes_away_ends_the_screen_and_detaches_the_run"])),
    (45, "NO_COLOR takes bold and reverse too", Tests(&["no_color_writes_no_colour_and_keeps_bold_and_reverse"])),
    (
        46,
        "Enter confirms destruction",
        Tests(&[
            "enter_never_confirms_danger",
            "a_terminal_too_small_to_draw_says_so_and_its_keys_are_dead",
            "the_environment_stands_in_words_at_every_size",
            "yes_never_confirms_danger_outside_the_box",
        ]),
    ),
    (47, "dark blue on black", Tests(&["no_shipped_theme_writes_dark_blue_or_forces_a_background_under_plain_text"])),
    (48, "a panic leaves the terminal broken", Tests(&["a_panic_gives_the_terminal_back_before_it_speaks"])),
    (49, "a key that cannot encrypt", Tests(&["a_recipient_that_cannot_encrypt_is_named_before_the_dump_starts"])),
    (50, "two ratatuis", Tests(&["there_is_one_ratatui"])),
    (
        51,
        "a plain dump with large objects commits half-way",
        Tests(&[
            "what_was_dumped_is_restored_and_counts_the_same_in_both_layouts",
            "a_transform_that_fails_is_told_by_file_and_line_and_nothing_it_did_is_seen",
        ]),
    ),
];

#[test]
fn every_trap_has_a_row_and_every_test_it_names_is_there() {
    let numbers: Vec<u8> = TRAPS.iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, (1..=51).collect::<Vec<u8>>());
    let text = sources();
    let mut missing = Vec::new();
    for (number, title, answer) in TRAPS {
        let tests = match answer {
            Tests(tests) => *tests,
            Later(why) => {
                assert!(!why.is_empty());
                continue;
            }
        };
        assert!(!tests.is_empty(), "trap {number}");
        // A function, or a row of a table that a macro makes tests of.
        let is_there = |name: &&&str| text.contains(&format!("fn {name}(")) || text.contains(&format!("    {name}: ["));
        missing.extend(tests.iter().filter(|name| !is_there(name)).map(|name| format!("trap {number}, {title}: there is no {name}")));
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

// TRAPS 50
#[test]
fn there_is_one_ratatui() {
    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    let versions = |name: &str| lock.lines().filter(|line| *line == format!("name = \"{name}\"")).count();
    assert_eq!((versions("ratatui"), versions("crossterm")), (1, 1));
}

/// Every Rust file of the program and its tests.
fn sources() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<PathBuf> = vec![root.join("src"), root.join("tests")];
    let mut text = String::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|ending| ending == "rs") {
                text.push_str(&fs::read_to_string(&entry).unwrap());
            }
        }
    }
    text
}
