//! How many searches of logs may be made for others: each costs an endpoint up to dozens of calls, and asking for one
//! costs a stranger nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// Calls for searches, so many at once and so many a second. Clones are the same budget.
#[derive(Clone)]
pub(crate) struct LogBudget(Arc<Mutex<Calls>>);

struct Calls {
    left: f64,
    most: f64,
    per_second: f64,
    since: Instant,
}

/// What one search may take. It begins when it is used first: until then nothing is taken from the budget.
pub(crate) struct Allowance {
    budget: LogBudget,
    longest: u32,
    /// `None` before it began.
    left: Mutex<Option<u32>>,
}

impl LogBudget {
    pub(crate) fn new(most: u32, per_second: u32) -> Self {
        let (left, most) = (f64::from(most), f64::from(most));
        let calls = Calls { left, most, per_second: f64::from(per_second), since: Instant::now() };
        Self(Arc::new(Mutex::new(calls)))
    }

    /// For a search of at most so many calls.
    pub(crate) fn allowance(&self, longest: u32) -> Arc<Allowance> {
        Arc::new(Allowance { budget: self.clone(), longest, left: Mutex::default() })
    }

    fn take(&self, calls: u32) -> bool {
        let mut budget = lock(&self.0);
        let now = Instant::now();
        let earned = now.duration_since(budget.since).as_secs_f64() * budget.per_second;
        budget.left = (budget.left + earned).min(budget.most);
        budget.since = now;
        let enough = budget.left >= f64::from(calls);
        if enough {
            budget.left -= f64::from(calls);
        }
        enough
    }

    fn give_back(&self, calls: u32) {
        let mut budget = lock(&self.0);
        budget.left = (budget.left + f64::from(calls)).min(budget.most);
    }
}

impl Allowance {
    /// Whether one more call may be made. What a whole search may take is set aside at its first call, so that none
    /// stops in the middle for others.
    pub(super) fn take(&self) -> bool {
        let mut left = lock(&self.left);
        let there_are = match *left {
            Some(left) => left,
            None if self.budget.take(self.longest) => self.longest,
            None => return false,
        };
        *left = Some(there_are.saturating_sub(1));
        there_are > 0
    }

    /// Whether any call was made.
    pub(crate) fn was_used(&self) -> bool {
        lock(&self.left).is_some()
    }
}

impl Drop for Allowance {
    fn drop(&mut self) {
        if let Some(left) = *lock(&self.left) {
            self.budget.give_back(left);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn searches_are_bounded_together_and_each() {
        let budget = LogBudget::new(60, 2);
        let (first, second, third) = (budget.allowance(30), budget.allowance(30), budget.allowance(30));
        assert!(!first.was_used());
        assert!(first.take() && second.take());
        assert!(first.was_used() && !third.take() && !third.was_used(), "both are set aside");
        assert_eq!((1..100).filter(|_| first.take()).count(), 29, "and no more than that each");
        drop(first);
        assert!(!third.take(), "all of it was spent");
        drop(second);
        assert!(!third.take(), "one short: 29 came back");
        tokio::time::advance(Duration::from_millis(500)).await;
        assert!(third.take(), "one more was earned");
        drop(third);
        tokio::time::advance(Duration::from_secs(3_600)).await;
        let many: Vec<_> = (0..3).map(|_| budget.allowance(30)).collect();
        assert_eq!(many.iter().filter(|one| one.take()).count(), 2, "what is saved up has an end");
    }
}
