//! `JobStore`: one suite, run against each store, and what is particular to each.

mod attempts;
mod audit;
mod browse;
mod history;
mod kept_plans;
mod many;
mod notices;
mod plans;
mod postgres_only;
pub(crate) mod records;
mod refusals;
mod relay;
mod retention;
mod shardings;
mod sqlite_only;
mod suite;
mod taken;
mod tokens;

use std::sync::Arc;

use hierophant_store::{JobStore, sqlite};

use crate::support::postgres::{Database, database};

/// A store that a test can close and open again.
pub(crate) enum Place {
    /// A file in a folder of its own.
    Sqlite(tempfile::TempDir),
    /// A database of its own.
    Postgres(Database),
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().expect("temp dir"))
    }

    pub(crate) async fn postgres() -> Self {
        Self::Postgres(database().await)
    }

    pub(crate) async fn open(&self) -> Arc<dyn JobStore> {
        let opened = match self {
            Self::Sqlite(folder) => sqlite::open(&folder.path().join("hierophant.db"), ()).await,
            Self::Postgres(database) => hierophant_store::postgres::open(&database.url, ()).await,
        };
        opened.expect("opens")
    }

    /// Does something that Hierophant does not do, while the store is closed.
    pub(crate) async fn administer(&self, sql: &str) {
        match self {
            Self::Sqlite(folder) => {
                sqlite_only::administer(&folder.path().join("hierophant.db"), sql);
            }
            Self::Postgres(database) => postgres_only::administer(&database.url, sql).await,
        }
    }
}

/// Makes a test of each function of the suite, once for each store.
macro_rules! suite {
    ($($module:ident::$name:ident)+) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $name() {
                crate::stores::$module::$name(crate::stores::Place::sqlite()).await;
            })+
        }

        mod on_postgres {
            $(#[tokio::test]
            async fn $name() {
                crate::stores::$module::$name(crate::stores::Place::postgres().await).await;
            })+
        }
    };
}

suite! {
    suite::every_record_reads_back_as_it_was_written
    suite::records_are_there_after_closing_and_opening
    suite::the_largest_numbers_survive
    suite::text_with_a_nul_does_not_stop_a_commit
    suite::a_request_keeps_what_its_client_said
    suite::an_idempotency_key_belongs_to_one_request
    suite::a_failing_transaction_changes_nothing
    suite::unfinished_jobs_come_with_open_requests_and_all_attempts
    suite::a_proved_job_is_found_by_its_content
    suite::every_filter_holds
    suite::what_is_known_of_a_submission_is_one_look_up
    refusals::a_write_that_the_database_refuses_names_its_table
    refusals::a_missing_table_is_named
    suite::pages_of_requests_do_not_overlap
    suite::pages_of_requests_continue_after_the_last_of_the_page_before
    suite::a_filter_looks_at_the_latest_requests_only_if_it_is_bounded
    suite::the_history_is_paged_from_the_latest_end
    suite::what_operators_set_is_there_until_it_is_unset
    suite::many_changes_at_once_are_written_like_few
    suite::nonces_are_counted_by_account
    suite::a_look_up_finds_what_was_committed_last
    suite::commits_at_the_same_time_are_all_kept
    attempts::strikes_are_failures_by_a_workers_fault
    attempts::what_went_on_goes_on_after_an_upgrade
    audit::what_was_done_is_read_page_by_page_and_forgotten_by_age
    browse::jobs_are_filtered
    browse::pages_of_jobs_do_not_overlap
    browse::a_list_shows_the_oldest_hundred_requests_of_a_job
    browse::attempts_and_requests_are_found_by_what_they_belong_to
    browse::attempts_of_the_same_millisecond_are_in_order
    browse::programs_and_artifacts_are_listed
    history::old_records_are_archived_and_deleted
    history::nothing_is_deleted_that_is_not_archived
    shardings::tasks_read_back_as_they_were_written
    shardings::tasks_are_listed_with_their_latest_attempts
    shardings::attempts_at_tasks_count_for_their_workers_and_not_as_attempts_at_the_job
    shardings::only_divisions_that_go_on_are_loaded_at_a_start
    shardings::a_job_is_divided_again_without_its_earlier_tasks
    shardings::no_two_tasks_of_a_job_have_the_same_key
    shardings::old_tasks_are_deleted_by_the_end_of_their_division
    notices::notices_are_kept_until_they_are_settled
    notices::notices_are_counted_by_requester
    notices::old_notices_are_found_and_all_are_moved_with_the_clock
    retention::inputs_go_a_while_after_the_last_job_that_uses_them
    retention::programs_stay_while_registered_or_run
    retention::proofs_stay_until_fetched_and_past_every_deadline
    retention::proofs_that_were_not_accepted_go_like_inputs
    retention::what_is_needed_again_is_kept_and_the_rest_removed_later
    retention::sweeps_by_due_times_miss_nothing
    retention::a_sweep_looks_only_at_what_is_due
    taken::cycles_of_an_address_are_counted_since_a_time
    taken::tickets_bytes_and_programs_are_counted_by_owner
    taken::records_belong_to_the_stored_client_or_else_to_their_address
    taken::a_confirmed_program_stays_confirmed_until_it_is_removed
    tokens::tokens_are_kept_and_no_two_valid_ones_have_one_name
}
