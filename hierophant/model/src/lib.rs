//! The language of the coordinator: what it stores, what operators ask for, who its clients are. Plain data and
//! pure functions; every other part of Hierophant may use it, and it uses none of them.

pub mod clients;
pub mod commands;
pub mod records;
pub mod sanitize;
pub mod subscriber;
pub mod text;
