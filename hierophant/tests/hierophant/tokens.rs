//! Tokens: how operators make and revoke them, and what they open.

mod admin;
