//! What others tell a task: a queue with a bound and one reader.
//!
//! As a channel, but one that is empty keeps no memory: tens of thousands of sessions are idle at
//! any time. Whoever writes never waits.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A queue for one reader. Clones share it.
#[derive(Debug)]
pub struct Mailbox<T>(Arc<Inner<T>>);

#[derive(Debug)]
struct Inner<T> {
    mails: Mutex<VecDeque<T>>,
    capacity: usize,
    arrived: Notify,
}

impl<T> Mailbox<T> {
    /// An empty one that takes up to `capacity` mails.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self(Arc::new(Inner { mails: Mutex::default(), capacity, arrived: Notify::new() }))
    }

    /// Puts a mail behind all others.
    ///
    /// # Errors
    /// Gives the mail back if there is no room.
    pub fn put(&self, mail: T) -> Result<(), T> {
        let mut mails = self.mails();
        if mails.len() >= self.0.capacity {
            return Err(mail);
        }
        mails.push_back(mail);
        drop(mails);
        self.0.arrived.notify_one();
        Ok(())
    }

    /// The oldest mail, if there is one.
    #[must_use]
    pub fn take(&self) -> Option<T> {
        let mut mails = self.mails();
        let mail = mails.pop_front();
        if mails.is_empty() {
            *mails = VecDeque::new();
        }
        mail
    }

    /// Waits for the oldest mail. Nothing is lost if the future is dropped.
    pub async fn next(&self) -> T {
        loop {
            if let Some(mail) = self.take() {
                return mail;
            }
            self.0.arrived.notified().await;
        }
    }

    /// A queue is whole between any two statements.
    fn mails(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.0.mails.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn mails_come_in_order_and_wake_who_waits() {
        let mailbox = Mailbox::new(2);
        let reader = mailbox.clone();
        let read = tokio::spawn(async move { [reader.next().await, reader.next().await] });
        tokio::task::yield_now().await;
        mailbox.put(1).unwrap();
        tokio::task::yield_now().await;
        mailbox.put(2).unwrap();
        assert_eq!(read.await.unwrap(), [1, 2]);
    }

    #[tokio::test]
    async fn a_reader_that_was_dropped_leaves_the_mail_for_the_next() {
        let mailbox = Mailbox::new(1);
        let waiting = tokio::time::timeout(std::time::Duration::ZERO, mailbox.next());
        assert!(waiting.await.is_err());
        mailbox.put("mail").unwrap();
        assert_eq!(mailbox.next().await, "mail");
    }

    #[test]
    fn a_full_one_gives_the_mail_back() {
        let mailbox = Mailbox::new(1);
        assert_eq!(mailbox.put(1), Ok(()));
        assert_eq!(mailbox.put(2), Err(2));
        assert_eq!(mailbox.take(), Some(1));
        assert_eq!(mailbox.put(3), Ok(()));
    }
}
