//! Which objects to reconcile next: a set, so that it is bounded by the number of objects whatever happens.
//!
//! Everything that may change an object's outcome (watches, reports, discovery) puts the object here; the controller
//! takes it out. There is no delay in it: latency of an ACL change is made of these hops.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, stream};
use tokio::sync::Notify;

/// A set of keys to wake up, and a stream that empties it.
#[derive(Debug)]
pub struct Wake<T> {
    pending: Mutex<HashSet<T>>,
    notify: Notify,
}

impl<T> Default for Wake<T> {
    fn default() -> Self {
        Self {
            pending: Mutex::new(HashSet::new()),
            notify: Notify::new(),
        }
    }
}

impl<T: Eq + Hash + Clone> Wake<T> {
    /// Asks for one object; asking twice before it is taken is asking once.
    pub fn wake(&self, key: T) {
        self.pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key);
        self.notify.notify_one();
    }

    /// Takes what is pending, for ever. There may be one stream only.
    pub fn stream(self: Arc<Self>) -> impl Stream<Item = T> + Send
    where
        T: Send + 'static,
    {
        stream::unfold(self, |wake| async move {
            loop {
                if let Some(key) = wake.take() {
                    return Some((key, wake));
                }
                wake.notify.notified().await;
            }
        })
    }

    fn take(&self) -> Option<T> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let key = pending.iter().next().cloned()?;
        pending.take(&key)
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn what_is_asked_for_twice_comes_once_and_nothing_is_lost() {
        let wake = Arc::new(Wake::default());
        for key in [1, 2, 1, 3, 2] {
            wake.wake(key);
        }
        let mut keys: Vec<i32> = Arc::clone(&wake).stream().take(3).collect().await;
        keys.sort_unstable();
        assert_eq!(keys, [1, 2, 3]);
        let mut stream = Box::pin(Arc::clone(&wake).stream());
        assert!(futures::poll!(stream.next()).is_pending());
        wake.wake(7);
        assert_eq!(stream.next().await, Some(7));
    }
}
