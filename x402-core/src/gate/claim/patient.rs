//! A store that is given up on when it does not answer: a request must not wait for it without end.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::timeout;

use crate::store::{ClaimStore, Key, Record, Stamp, StoreError, Stored, Swapped};

/// A little longer than stores that know a limit of their own wait.
const PATIENCE: Duration = Duration::from_secs(6);

pub(in super::super) struct Patient<S>(pub(in super::super) S);

impl<S: ClaimStore> ClaimStore for Patient<S> {
    async fn load(&self, key: &Key) -> Result<Option<Stored>, StoreError> {
        in_time(self.0.load(key)).await
    }

    async fn swap(
        &self,
        key: &Key,
        seen: Option<Stamp>,
        next: Option<Record>,
    ) -> Result<Swapped, StoreError> {
        in_time(self.0.swap(key, seen, next)).await
    }

    async fn open(&self, space: &str) -> Result<BTreeMap<String, Stored>, StoreError> {
        in_time(self.0.open(space)).await
    }
}

async fn in_time<T>(operation: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let late = |_| StoreError::unavailable(format!("no answer within {} s", PATIENCE.as_secs()));
    timeout(PATIENCE, operation).await.map_err(late)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreErrorKind;

    struct Silent;

    impl ClaimStore for Silent {
        async fn load(&self, _: &Key) -> Result<Option<Stored>, StoreError> {
            std::future::pending().await
        }

        async fn swap(&self, _: &Key, _: Option<Stamp>, _: Option<Record>) -> Result<Swapped, StoreError> {
            std::future::pending().await
        }

        async fn open(&self, _: &str) -> Result<BTreeMap<String, Stored>, StoreError> {
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_never_answers_is_given_up_on() {
        let (store, key) = (Patient(Silent), Key::new("test", "a"));
        let errors = [
            store.load(&key).await.map(drop),
            store.swap(&key, None, None).await.map(drop),
            store.open("test").await.map(drop),
        ];
        for error in errors {
            assert_eq!(error.unwrap_err().kind(), StoreErrorKind::Unavailable);
        }
    }
}
