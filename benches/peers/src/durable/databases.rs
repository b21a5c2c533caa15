//! Databases inside the process, set to sync at every commit: redb, fjall, SQLite. What they lose in exchange is asked of none of them: SQLite in
//! WAL mode with `synchronous=FULL`, fjall with each batch synced, redb as it comes.

use super::{Appends, Shape, Tally, Transacts, transactions};
use crate::subjects::pattern;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use rusqlite::Connection;
use std::path::Path;
use std::time::Duration;

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");

/// A database with what all of them need.
pub struct Base<D> {
    database: D,
    shape: Shape,
    payload: Vec<u8>,
    next: u64,
}

/// redb.
pub type Redb = Base<redb::Database>;
/// fjall.
pub type Fjall = Base<(Database, Keyspace)>;
/// SQLite.
pub type Sqlite = Base<Connection>;

/// One database.
pub trait Engine {
    /// Opens it in a folder, which is empty the first time.
    fn open(folder: &Path) -> Self;
    /// Makes these records durable, all at once.
    fn commit(&mut self, numbers: std::ops::Range<u64>, payload: &[u8]);
    /// How many records it holds.
    fn count(&mut self) -> u64;
    /// Hands over every record, in order.
    fn each(&mut self, take: impl FnMut(&[u8]));
}

impl<D: Engine> Transacts for Base<D> {
    fn transact(&mut self, first: u64) {
        self.database.commit(first..first + self.shape.writers as u64, &self.payload);
    }
}

impl<D: Engine> Appends for Base<D> {
    fn open(folder: &Path, shape: Shape) -> Self {
        let mut payload = vec![0; shape.size];
        pattern(&mut payload);
        Self { database: D::open(folder), shape, payload, next: 0 }
    }

    fn append_for(&mut self, slice: Duration) -> Tally {
        let (mut next, shape) = (self.next, self.shape);
        let tally = transactions(self, &mut next, shape, slice);
        self.next = next;
        tally
    }

    fn held(&mut self) -> u64 {
        self.database.count()
    }
}

impl Engine for redb::Database {
    fn open(folder: &Path) -> Self {
        Self::create(folder.join("redb")).expect("an empty folder")
    }

    fn commit(&mut self, numbers: std::ops::Range<u64>, payload: &[u8]) {
        let transaction = self.begin_write().expect("a database");
        {
            let mut table = transaction.open_table(TABLE).expect("a table");
            for number in numbers {
                table.insert(number, payload).expect("a good disk");
            }
        }
        transaction.commit().expect("a good disk");
    }

    fn count(&mut self) -> u64 {
        let transaction = self.begin_read().expect("a database");
        transaction.open_table(TABLE).and_then(|table| Ok(table.len()?)).expect("a table")
    }

    fn each(&mut self, mut take: impl FnMut(&[u8])) {
        let transaction = self.begin_read().expect("a database");
        let table = transaction.open_table(TABLE).expect("a table");
        for entry in table.iter().expect("a good disk") {
            take(entry.expect("a good disk").1.value());
        }
    }
}

impl Engine for (Database, Keyspace) {
    fn open(folder: &Path) -> Self {
        let database = Database::builder(folder.join("fjall")).open().expect("an empty folder");
        let keyspace = database.keyspace("log", KeyspaceCreateOptions::default).expect("a keyspace");
        (database, keyspace)
    }

    fn commit(&mut self, numbers: std::ops::Range<u64>, payload: &[u8]) {
        let mut batch = self.0.batch().durability(Some(PersistMode::SyncData));
        for number in numbers {
            batch.insert(&self.1, number.to_be_bytes(), payload);
        }
        batch.commit().expect("a good disk");
    }

    fn count(&mut self) -> u64 {
        // Keys are numbers without a gap, so the last one tells; counting would read all of it.
        let last = self.1.last_key_value().map(|guard| guard.key().expect("a good disk"));
        last.map_or(0, |key| u64::from_be_bytes(key[..].try_into().expect("a key of eight bytes")) + 1)
    }

    fn each(&mut self, mut take: impl FnMut(&[u8])) {
        for guard in self.1.iter() {
            take(&guard.value().expect("a good disk"));
        }
    }
}

impl Engine for Connection {
    fn open(folder: &Path) -> Self {
        let connection = Self::open(folder.join("sqlite")).expect("an empty folder");
        connection
            .execute_batch(
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE IF NOT EXISTS log (id INTEGER PRIMARY KEY, payload BLOB);",
            )
            .expect("a database");
        connection
    }

    fn commit(&mut self, numbers: std::ops::Range<u64>, payload: &[u8]) {
        let transaction = self.transaction().expect("a database");
        {
            let sql = "INSERT INTO log (id, payload) VALUES (?1, ?2)";
            let mut insert = transaction.prepare_cached(sql).expect("a table");
            for number in numbers {
                insert.execute((number as i64, payload)).expect("a good disk");
            }
        }
        transaction.commit().expect("a good disk");
    }

    fn count(&mut self) -> u64 {
        let last = "SELECT coalesce(max(id) + 1, 0) FROM log";
        self.query_row(last, (), |row| row.get::<_, i64>(0)).expect("a table") as u64
    }

    fn each(&mut self, mut take: impl FnMut(&[u8])) {
        let mut select = self.prepare("SELECT payload FROM log ORDER BY id").expect("a table");
        let mut rows = select.query(()).expect("a table");
        while let Some(row) = rows.next().expect("a good disk") {
            take(row.get_ref(0).and_then(|value| Ok(value.as_blob()?)).expect("a payload"));
        }
    }
}
