use std::fmt;
use std::sync::Arc;

use crate::net::masked;
use crate::types::{Error, ErrorKind, Result};

/// Everything that the builder was told of one of its stores. More than one way is an error at `open`.
pub(super) struct StoreChoice<S: ?Sized> {
    pub(super) store: Option<Arc<S>>,
    pub(super) url: Option<String>,
    pub(super) endpoint: Option<Endpoint>,
}

/// A store behind HTTP.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) url: String,
    /// Empty for none.
    pub(super) token: String,
}

/// How one of the stores is spoken of.
pub(super) struct StoreWords {
    /// `lease store`
    pub(super) what: &'static str,
    pub(super) store_method: &'static str,
    pub(super) url_method: &'static str,
    pub(super) endpoint_method: &'static str,
    pub(super) variable: &'static str,
}

/// The one way in which a store was named.
pub(super) enum StorePlace<S: ?Sized> {
    Store(Arc<S>),
    Url {
        url: String,
        /// The method or the variable that had it.
        from: &'static str,
    },
    Endpoint(Endpoint),
}

/// What the variables of the environment say; those that are empty are not set.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

impl<S: ?Sized> StoreChoice<S> {
    pub(super) const NONE: StoreChoice<S> = StoreChoice { store: None, url: None, endpoint: None };

    /// Where the store is: what the builder says, else what the environment says, else nothing. `InvalidConfig` if
    /// the builder says it in two ways.
    pub(super) fn place(
        &self,
        words: &StoreWords,
        environment: Environment<'_>,
    ) -> Result<Option<StorePlace<S>>> {
        self.is_said_once(words, None)?;
        let in_url = |url: &String| StorePlace::Url { url: url.clone(), from: words.url_method };
        let told = (self.store.clone().map(StorePlace::Store))
            .or_else(|| self.url.as_ref().map(in_url))
            .or_else(|| self.endpoint.clone().map(StorePlace::Endpoint));
        let from = words.variable;
        Ok(told.or_else(|| Some(StorePlace::Url { url: environment(from)?, from })))
    }

    /// `InvalidConfig` if the builder says in two ways where the store is, with both; `other` is one more.
    pub(super) fn is_said_once(&self, words: &StoreWords, other: Option<&'static str>) -> Result<()> {
        let ways = [
            other,
            self.store.as_ref().map(|_| words.store_method),
            self.url.as_ref().map(|_| words.url_method),
            self.endpoint.as_ref().map(|_| words.endpoint_method),
        ];
        let mut ways = ways.into_iter().flatten();
        let (Some(first), Some(second)) = (ways.next(), ways.next()) else { return Ok(()) };
        let message = format!("the {} is given twice, by `{first}` and by `{second}`: use one", words.what);
        Err(Error::new(ErrorKind::InvalidConfig, message))
    }

    /// Whether the builder says anything.
    pub(super) fn is_said(&self) -> bool {
        self.store.is_some() || self.url.is_some() || self.endpoint.is_some()
    }
}

impl<S: ?Sized> Clone for StoreChoice<S> {
    fn clone(&self) -> StoreChoice<S> {
        StoreChoice { store: self.store.clone(), url: self.url.clone(), endpoint: self.endpoint.clone() }
    }
}

/// Shows no secret.
impl<S: ?Sized> fmt::Debug for StoreChoice<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        if self.store.is_some() {
            list.entry(&"a store of the application's");
        }
        list.entries(self.url.as_deref().map(masked));
        list.entries(self.endpoint.as_ref().map(|endpoint| masked(&endpoint.url)));
        list.finish()
    }
}
