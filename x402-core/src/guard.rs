//! Runs code that is not ours: hooks, closures, facilitators. It may take its time, or panic, and must harm nothing else.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use futures_util::FutureExt;

/// Why foreign code came to no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It panicked.
    Panicked,
    /// It took longer than this.
    TooSlow(Duration),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked => f.write_str("it panicked"),
            Self::TooSlow(limit) => write!(f, "it took longer than {limit:?}"),
        }
    }
}

/// What a future comes to within this time.
///
/// # Errors
/// When it panics, or takes longer: then it is dropped.
pub async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, Failure> {
    match tokio::time::timeout(limit, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) => Err(Failure::Panicked),
        Err(_) => Err(Failure::TooSlow(limit)),
    }
}

/// What a function comes to.
///
/// # Errors
/// When it panics.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| Failure::Panicked)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_hangs_or_panics_is_given_up_on() {
        let limit = Duration::from_secs(3);
        assert_eq!(within(limit, async { 1 }).await, Ok(1));
        assert_eq!(within(limit, pending::<u8>()).await, Err(Failure::TooSlow(limit)));
        assert_eq!(within(limit, async { panic!("as it should") }).await, Err::<u8, _>(Failure::Panicked));
        assert_eq!(caught(|| 1), Ok(1));
        assert_eq!(caught(|| panic!("as it should")), Err::<u8, _>(Failure::Panicked));
    }
}
