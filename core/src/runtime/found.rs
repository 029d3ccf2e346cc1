use std::sync::Arc;

use super::checkpoints::Checkpoints;
use super::clock;
use super::draft::Author;
use super::journal_file::JournalFile;
use super::local_files::Identity;
use super::log::Staged;
use super::replica::{Opened, Replica, main_file};
use super::replicator::Replicator;
use super::rewind::Save;
use super::shared::Connections;
use crate::election::Tenure;
use crate::replication::{Genesis, PutAnswer, Record, RecordKind, Shipper};
use crate::sqlite::{Acknowledge, Hooks, PoolOptions, ReadPool, Writer, WriterOptions, create_database};
use crate::types::{DatabaseId, Durability, Epoch, Error, ErrorKind, Position, Result, Txid};
use crate::wal::WalPoint;

/// What a node needs to get its database.
pub(super) struct Bootstrap {
    /// How the connections are opened.
    pub(super) writer: WriterOptions,
    /// How many readers, and for how long.
    pub(super) pool: PoolOptions,
    /// Take a database without local state as this log's continuation.
    pub(super) adopt: bool,
    /// Never lead: commits of its own are a mistake.
    pub(super) read_only: bool,
    /// A new database's id, if this node founds one.
    pub(super) new_id: DatabaseId,
}

impl Replicator {
    /// Gets a database that belongs to the log: opens the local one, or restores it. Leaves things as they
    /// are if there is no log yet: then the first leader founds it.
    ///
    /// `ForeignDatabase` if the database at the path is not known to be the log's.
    pub(super) fn bootstrap(&mut self) -> Result<()> {
        if self.replica.is_some() {
            return Ok(());
        }
        let genesis = self.wait(self.shared.log.genesis())?;
        let identity = self.files().identity()?;
        if genesis.is_some() && identity.is_none() && self.files().founding()? != genesis {
            self.discard_if_created()?;
        }
        let has_database = self.files().has_database()?;
        match (genesis, identity) {
            (None, Some(identity)) => Err(Error::corrupt(format!(
                "this database belongs to log {}, and {} has no genesis: the bucket was emptied, or it is \
                 another one",
                identity.database,
                self.shared.log.describe()
            ))),
            (None, _) => Ok(()),
            (Some(genesis), Some(identity)) if identity.genesis != genesis.chain() => {
                Err(self.foreign(&genesis, Some(identity)))
            }
            (Some(genesis), None) if has_database && !self.may_take(&genesis)? => {
                Err(self.foreign(&genesis, None))
            }
            (Some(genesis), None) if has_database => self.take(&genesis),
            (Some(genesis), _) if !has_database => self.restore(&genesis),
            (Some(_), _) => self.open_replica(),
        }
    }

    /// Whether this node has created the genesis and not yet slot 1.
    pub(super) fn is_founding(&self) -> bool {
        self.replica.as_ref().is_some_and(|replica| replica.boundary().position.txid == Txid::ZERO)
    }

    /// Makes the log: genesis, and slot 1 with the whole database. What is at the path becomes the base; if
    /// there is nothing, an empty database is made.
    pub(super) fn found(&mut self, tenure: Tenure, epoch: Epoch) -> Result<Shipper> {
        let result = self.try_found(tenure, epoch);
        if result.is_err() && self.files().identity()?.is_none() {
            // Another node may found the log instead: the next look begins at the beginning.
            self.replica = None;
        }
        result
    }

    fn try_found(&mut self, tenure: Tenure, epoch: Epoch) -> Result<Shipper> {
        self.refuse_files_of_others()?;
        if self.replica.is_none() {
            if !self.files().has_database()? {
                self.files().remove_database()?;
                // So that an empty database of ours is not taken for an application's later.
                self.files().set_created(true)?;
                create_database(self.files().database())?;
            }
            self.files().remove_journal()?;
            let (Opened::Proven(replica) | Opened::Unproven(replica)) =
                Replica::open(Arc::clone(self.files()))?;
            self.replica = Some(replica);
        }
        let earlier = self.files().founding()?;
        let new_id = self.bootstrap.new_id;
        let replica = self.replica()?;
        replica.begin_generation_if_empty()?;
        let base = replica.base_hash()?;
        let database = match earlier {
            Some(genesis) if genesis.base == base => genesis.database,
            _ => new_id,
        };
        let genesis = Genesis { database, page_size: replica.page_size(), base };
        self.files().set_founding(&genesis)?;
        match self.wait(self.shared.log.create_genesis(&genesis))? {
            PutAnswer::Stored => {}
            PutAnswer::Refused => {
                self.replica = None;
                self.discard_if_created()?;
                let message = "another node has founded the log at the same time";
                return Err(Error::new(ErrorKind::LeaderUnavailable, message));
            }
            PutAnswer::Ambiguous => {
                let message = "the genesis could not be read back";
                return Err(Error::new(ErrorKind::StoreUnavailable, message));
            }
        }
        self.identify(&genesis)?;
        self.open_connections()?;
        let author = Author { epoch, session: self.shared.session, now_ms: self.shared.stamps.next() };
        let start = Position { txid: Txid::ZERO, chain: genesis.chain(), epoch: Epoch::ZERO };
        let prepared = self.replica()?.draft_base(start, author)?;
        let shipper = self.fence_base(tenure, epoch, &prepared)?;
        self.files().clear_founding()?;
        self.start_checkpoints()?;
        Ok(shipper)
    }

    /// A prefix with log files and without a genesis is another tool's. That a listing shows none proves
    /// nothing, and nothing rests on it: slot 1 is created only if it does not exist.
    fn refuse_files_of_others(&self) -> Result<()> {
        if self.files().identity()?.is_some() || self.wait(self.shared.log.list())?.is_empty() {
            return Ok(());
        }
        if self.wait(self.shared.log.genesis())?.is_some() {
            return Ok(());
        }
        Err(self.written_by_another_tool())
    }

    /// Opens the database that belongs to the log, and compares it with the log if its WAL proves nothing.
    fn open_replica(&mut self) -> Result<()> {
        self.open_connections()?;
        match Replica::open(Arc::clone(self.files()))? {
            Opened::Proven(replica) => {
                self.replica = Some(replica);
                self.take_what_was_added()?;
            }
            Opened::Unproven(replica) => {
                self.replica = Some(replica);
                // A slot 1 that was deleted was there: others have gone on from it.
                let first = Txid::new(1);
                let founded = self.wait(self.shared.log.slot_name(first))?.is_some()
                    || self.wait(self.shared.log.floor())?.covers(first);
                if !founded && self.files().founding()?.is_some() {
                    return self.continue_founding();
                }
                if let Err(error) = self.rebuild(Save::Differences) {
                    self.replica = None;
                    return Err(error);
                }
            }
        }
        self.start_checkpoints()?;
        self.moved();
        Ok(())
    }

    /// The genesis is ours and there is no slot: as the leader we may make slot 1, if the base is the same.
    fn continue_founding(&mut self) -> Result<()> {
        let floor = self.wait(self.shared.log.floor())?;
        let empty = self.wait(self.shared.log.list())?.is_empty();
        let genesis = self.wait(self.shared.log.genesis())?;
        let base = self.replica()?.base_hash()?;
        let ours = genesis.is_some() && genesis == self.files().founding()?;
        if ours && empty && floor.0 == Txid::ZERO && genesis.is_some_and(|genesis| genesis.base == base) {
            return Ok(());
        }
        self.replica = None;
        Err(Error::corrupt(
            "the log has a genesis and no slot, and this database is not the base that it was founded with",
        ))
    }

    /// Gets the database from the log.
    fn restore(&mut self, genesis: &Genesis) -> Result<()> {
        let staged = Staged::new(self.files().staging("restore.db"));
        let restored = self.wait(self.shared.log.restore(staged.path()))?;
        let Some(restored) = restored else {
            let message = "the log has a genesis and no slot yet: its founder has not finished";
            return Err(Error::new(ErrorKind::LeaderUnavailable, message));
        };
        self.accept(&restored)?;
        // Of a database that somebody took away: nothing else has these commits.
        let lost = self.keep_unproven_spool()?;
        self.files().remove_database()?;
        self.files().remove_journal()?;
        self.identify(genesis)?;
        // A crash before the WAL's first generation leaves the file as it is now, and it proves itself.
        JournalFile::open(&self.files().journal())?.append_durably(Record {
            kind: RecordKind::Closed(main_file(staged.path())?),
            point: WalPoint::default(),
            position: restored.position,
        })?;
        self.files().install(staged.path())?;
        self.open_connections()?;
        let (Opened::Proven(mut replica) | Opened::Unproven(mut replica)) =
            Replica::open(Arc::clone(self.files()))?;
        replica.begin_at(restored.position)?;
        replica.follow()?;
        self.replica = Some(replica);
        self.start_checkpoints()?;
        self.moved();
        self.report_lost(lost, Txid::ZERO, restored.position.txid, &[]);
        Ok(())
    }

    /// Takes the database at the path for the log's: compared page by page, and what differs is saved.
    fn take(&mut self, genesis: &Genesis) -> Result<()> {
        self.files().remove_journal()?;
        self.identify(genesis)?;
        self.open_replica()
    }

    fn may_take(&self, genesis: &Genesis) -> Result<bool> {
        Ok(self.bootstrap.adopt || self.files().founding()?.as_ref() == Some(genesis))
    }

    fn identify(&self, genesis: &Genesis) -> Result<()> {
        self.files().set_identity(&Identity {
            database: genesis.database,
            genesis: genesis.chain(),
            page_size: genesis.page_size,
        })?;
        self.files().set_created(false)
    }

    /// Removes the empty database that this node made for a log that another node founded.
    fn discard_if_created(&self) -> Result<()> {
        if self.files().is_created() {
            self.files().remove_database()?;
            self.files().set_created(false)?;
        }
        Ok(())
    }

    fn foreign(&self, genesis: &Genesis, identity: Option<Identity>) -> Error {
        let here = match identity {
            Some(identity) => format!("belongs to log {}", identity.database),
            None => "has no local state of haqlite".to_owned(),
        };
        let message = format!(
            "{} {here}, and {} holds database {}: move the file away to get the log's, choose another \
             prefix or name to start a log of its own, or open with `adopt` if it is a copy of the log's",
            self.files().database().display(),
            self.shared.log.describe(),
            genesis.database
        );
        Error::new(ErrorKind::ForeignDatabase, message)
    }

    /// The log is founded and this node is on it, on whichever way it came there.
    pub(super) fn finish_founding(&mut self) -> Result<()> {
        if self.checkpoints.is_some() {
            return Ok(());
        }
        self.files().clear_founding()?;
        self.start_checkpoints()
    }

    pub(super) fn written_by_another_tool(&self) -> Error {
        let message = format!(
            "{} holds files that another tool wrote: open it with `adopt` to go on from them, restore them, or \
             choose another prefix or name",
            self.shared.log.describe()
        );
        Error::new(ErrorKind::ForeignDatabase, message)
    }

    /// Opens the writer and the readers, once.
    fn open_connections(&mut self) -> Result<()> {
        if self.shared.database.get().is_some() {
            return Ok(());
        }
        let hint = Arc::downgrade(&self.shared);
        let on_commit = Arc::new(move || {
            if let Some(shared) = hint.upgrade() {
                shared.hint();
            }
        });
        let acknowledge: Option<Acknowledge> = match self.shared.settings.durability {
            Durability::Cloud => {
                let confirmations = Arc::clone(&self.shared.confirmations);
                Some(Arc::new(move |newest| confirmations.wait(newest)))
            }
            Durability::Continuous { .. } | Durability::Checkpoint { .. } => None,
        };
        let clock: crate::sqlite::Clock = Arc::new(clock::now);
        let writer = Writer::open(
            self.bootstrap.writer.clone(),
            Arc::clone(&self.shared.gate),
            Arc::clone(&clock),
            Hooks { on_commit, acknowledge },
        )?;
        let pool = ReadPool::new(self.bootstrap.pool.clone(), clock);
        let _ = self.shared.database.set(Connections { writer, pool });
        Ok(())
    }

    fn start_checkpoints(&mut self) -> Result<()> {
        if self.checkpoints.is_none() {
            let database = self.files().database().to_path_buf();
            self.checkpoints = Some(Checkpoints::start(&database, self.shared.replicator.clone())?);
        }
        Ok(())
    }
}
