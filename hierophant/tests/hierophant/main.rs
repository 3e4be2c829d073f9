//! Hierophant as its clients, its Contemplants and its operator meet it. One program, because linking
//! SP1's verifiers takes longer than running the tests.

#![allow(missing_docs, unreachable_pub, reason = "a test of several files")]

mod acts;
mod bad_input;
mod certificates;
mod clearing;
mod cli;
mod cli_acts;
mod clients;
mod connections;
mod deadlines;
mod disk_budget;
mod documentation;
mod events;
mod expiry;
mod forms;
mod handing_in;
mod heads;
mod hostile;
mod known_uploads;
mod list_floods;
mod lists;
mod log_lines;
mod metrics;
mod mutual_tls;
mod on_postgres;
mod on_s3;
mod one_machine;
mod operate;
mod operators;
mod pitfalls;
mod racing;
mod retention;
mod services;
mod startup;
mod storage;
mod stores;
mod support;
mod task_views;
mod tasks;
mod tls;
mod tokens;
mod traces;
mod vectors;
mod verify;
mod webhooks;
mod worker_words;
