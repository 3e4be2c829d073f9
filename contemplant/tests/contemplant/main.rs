//! A whole Contemplant against a Hierophant that the test plays.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod aggregation;
mod announced;
mod cuda;
mod cuda_command;
mod cuda_processes;
mod cuda_self_test;
mod cuda_stage;
mod doctor;
mod drain;
mod example_file;
mod executions;
mod fake_executor;
mod fake_hierophant;
mod fake_tasks;
mod handing_in;
mod health;
mod job;
mod machine_checks;
mod metrics;
mod mock_backend;
mod mock_tasks;
mod observed;
mod prefetch;
mod prefetch_cuda;
mod prover_build;
mod prover_fetch;
mod reconnect;
mod refusal;
mod restart;
mod setup;
mod sharded;
mod tasks;
mod tls;
mod waiting;
