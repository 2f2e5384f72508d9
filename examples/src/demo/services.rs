//! The examples, as they are.
#![allow(dead_code, reason = "their `main` is not called here")]

#[path = "../services/actix.rs"]
pub(crate) mod actix;
#[path = "../services/axum.rs"]
pub(crate) mod axum;
#[path = "../services/poem.rs"]
pub(crate) mod poem;
#[path = "../services/tower.rs"]
pub(crate) mod tower;
