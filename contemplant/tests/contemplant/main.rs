//! A whole Contemplant against a Hierophant that the test plays.

mod drain;
mod fake_executor;
mod fake_hierophant;
mod job;
mod mock_backend;
mod reconnect;
mod refusal;
mod setup;
