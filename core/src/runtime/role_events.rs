use tokio::sync::watch;

use super::shared::View;
use crate::types::{Epoch, Event, Role};

/// The changes of role, epoch and leader, newest first served: what changed twice in between is seen once.
#[derive(Debug)]
pub struct RoleEvents {
    view: watch::Receiver<View>,
    last: Option<(Role, Epoch, Option<String>)>,
}

impl RoleEvents {
    pub(crate) fn new(view: watch::Receiver<View>) -> RoleEvents {
        RoleEvents { view, last: None }
    }

    /// The next state that differs from the last one given; the first call gives the present one. `None`
    /// when the database is closed. Under any executor.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            let (now, closed) = {
                let view = self.view.borrow_and_update();
                ((view.role, view.epoch, view.leader.clone()), view.closed)
            };
            if self.last.as_ref() != Some(&now) {
                self.last = Some(now.clone());
                let (role, epoch, leader) = now;
                return Some(Event::Role { role, epoch, leader });
            }
            if closed || self.view.changed().await.is_err() {
                return None;
            }
        }
    }
}
