//! Shared types of the coordinator: stored records, operator commands, clients. Plain data and pure functions, on
//! which every other part depends.

pub mod clients;
pub mod commands;
pub mod records;
pub mod sanitize;
pub mod subscriber;
pub mod text;
