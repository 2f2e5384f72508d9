//! The same shop in each framework, as its users would write it.

pub mod actix;
pub mod axum;
pub mod poem;
pub mod tower;
