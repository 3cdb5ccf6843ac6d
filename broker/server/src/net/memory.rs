//! The memory that requests and answers of all connections may hold together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// A budget in bytes that all connections share. What does not fit waits; what can never fit is refused.
#[derive(Debug)]
pub struct MemoryBudget {
    limit: usize,
    used: AtomicUsize,
    freed: Notify,
}

/// Bytes taken from a [`MemoryBudget`]; they go back when this is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<MemoryBudget>,
    bytes: usize,
}

/// Why bytes could not be had.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BudgetError {
    /// More than the whole budget was asked for.
    #[error("{wanted} bytes were asked for, but all requests together may hold {limit}: raise --memory")]
    NeverFits {
        /// Bytes asked for.
        wanted: usize,
        /// The whole budget in bytes.
        limit: usize,
    },
    /// Others held the memory for too long.
    #[error("{wanted} bytes did not become free within {}: other requests hold {used} of {limit}", humane(*.waited))]
    TimedOut {
        /// Bytes asked for.
        wanted: usize,
        /// Bytes that others hold.
        used: usize,
        /// The whole budget in bytes.
        limit: usize,
        /// How long was waited.
        waited: Duration,
    },
}

fn humane(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

impl MemoryBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0), freed: Notify::new() })
    }

    /// The whole budget in bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes held now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// An empty reservation that can grow.
    pub fn reservation(self: &Arc<Self>) -> Reservation {
        Reservation { budget: Arc::clone(self), bytes: 0 }
    }

    fn try_take(&self, bytes: usize) -> bool {
        self.used
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|total| *total <= self.limit)
            })
            .is_ok()
    }

    fn give_back(&self, bytes: usize) {
        if bytes > 0 {
            let before = self.used.fetch_sub(bytes, Ordering::AcqRel);
            assert!(before >= bytes, "more memory was given back than was taken");
            self.freed.notify_waiters();
        }
    }
}

impl Reservation {
    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Grows to `total` bytes if that fits now. Does nothing when as much is held already.
    pub fn try_grow(&mut self, total: usize) -> bool {
        let more = total.saturating_sub(self.bytes);
        let fits = more == 0 || self.budget.try_take(more);
        if fits {
            self.bytes += more;
        }
        fits
    }

    /// Grows to `total` bytes, waiting up to `patience` for others to give some back.
    ///
    /// # Errors
    /// [`BudgetError`] when the bytes can never be had or were not had in time; what was held stays held.
    pub async fn grow(&mut self, total: usize, patience: Duration) -> Result<(), BudgetError> {
        let limit = self.budget.limit;
        if total > limit {
            return Err(BudgetError::NeverFits { wanted: total, limit });
        }
        let budget = Arc::clone(&self.budget);
        let waiting = async {
            loop {
                // Registered before the attempt, so that bytes freed in between are not missed.
                let freed = budget.freed.notified();
                tokio::pin!(freed);
                freed.as_mut().enable();
                if self.try_grow(total) {
                    return;
                }
                freed.await;
            }
        };
        tokio::time::timeout(patience, waiting).await.map_err(|_elapsed| BudgetError::TimedOut {
            wanted: total,
            used: budget.used(),
            limit,
            waited: patience,
        })
    }

    /// Gives back what is held above `total` bytes.
    pub fn shrink(&mut self, total: usize) {
        if self.bytes > total {
            self.budget.give_back(self.bytes - total);
            self.bytes = total;
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_taken_and_given_back() {
        let budget = MemoryBudget::new(100);
        let mut first = budget.reservation();
        assert!(first.try_grow(60));
        assert!(first.try_grow(50), "less than is held is no growth");
        assert_eq!(budget.used(), 60);
        let mut second = budget.reservation();
        assert!(!second.try_grow(41));
        assert_eq!(second.bytes(), 0);
        first.shrink(10);
        assert!(second.try_grow(41));
        drop(first);
        assert_eq!(budget.used(), 41);
    }

    #[tokio::test]
    async fn growth_waits_for_what_others_give_back() {
        let budget = MemoryBudget::new(100);
        let mut first = budget.reservation();
        assert!(first.try_grow(80));
        let mut second = budget.reservation();
        let waiter = async { second.grow(50, Duration::from_secs(60)).await };
        let releaser = async {
            tokio::task::yield_now().await;
            drop(first);
        };
        let (grown, ()) = tokio::join!(waiter, releaser);
        assert_eq!(grown, Ok(()));
        assert_eq!(budget.used(), 50);
    }

    #[tokio::test(start_paused = true)]
    async fn growth_that_cannot_be_had_ends_with_a_sentence() {
        let budget = MemoryBudget::new(100);
        let mut reservation = budget.reservation();
        assert_eq!(
            reservation.grow(101, Duration::from_secs(1)).await,
            Err(BudgetError::NeverFits { wanted: 101, limit: 100 })
        );
        let mut other = budget.reservation();
        assert!(other.try_grow(90));
        let error = reservation.grow(20, Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "20 bytes did not become free within 1 s: other requests hold 90 of 100"
        );
    }
}
