//! Where the state of payments is kept, so that it is the same for all instances of a service and outlives each of them.
//!
//! A store keeps small records and knows nothing of what they say. What makes it one is [`swap`](ClaimStore::swap): a
//! record is replaced only by who has seen the latest one. All that is decided about payments is decided by those who
//! write the records, with that alone.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fmt,
    hash::{BuildHasher, RandomState},
    str::FromStr,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::BoxFuture;

/// Keeps records, for one process or for many.
///
/// An operation that returned is seen by every later one, of any instance. After an error it may have happened, or not, or
/// may yet happen: whoever wrote asks again, and finds their own [`Stamp`], or not. What is still on its way does no harm
/// when it arrives late: the stamp that it has seen is no longer there. A creation has seen none; one that arrives after its
/// record was taken away puts it there again, where nobody renews it.
pub trait ClaimStore: Send + Sync + 'static {
    /// The record, unless there is none or it expired.
    fn load(&self, key: &Key) -> impl Future<Output = Result<Option<Stored>, StoreError>> + Send;

    /// Puts `next` in the place of the record that carries the stamp `seen`; with `None` for it, where there is no
    /// record; with `None` for `next`, nothing stays there. All at once, or not at all: of two that have seen the
    /// same, one gets there. Where the record carries the stamp of `next` already, it has happened.
    fn swap(
        &self,
        key: &Key,
        seen: Option<Stamp>,
        next: Option<Record>,
    ) -> impl Future<Output = Result<Swapped, StoreError>> + Send;

    /// The records of a space that are marked [`open`](Record::open), by their ids. What cannot be read is left out, and
    /// said in the log: it must not stand in the way of all others.
    fn open(&self, space: &str) -> impl Future<Output = Result<BTreeMap<String, Stored>, StoreError>> + Send;
}

/// What a record is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// Who writes it, and about what kind of thing.
    pub space: Cow<'static, str>,
    /// Which thing.
    pub id: String,
}

impl Key {
    /// A key.
    pub fn new(space: impl Into<Cow<'static, str>>, id: impl Into<String>) -> Self {
        Self { space: space.into(), id: id.into() }
    }
}

/// What is to be kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Names this writing.
    pub stamp: Stamp,
    /// What it says: JSON. There may be a signed payment in it.
    pub state: String,
    /// Whether something is still to be done about it, even after a restart.
    pub open: bool,
    /// How long it is to be kept, from now. To the second is exact enough.
    pub keep: Duration,
}

/// What is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    /// Names the writing that put it there.
    pub stamp: Stamp,
    /// What it says.
    pub state: String,
    /// How long ago it was written, by the store's clock: those of several instances differ.
    pub age: Duration,
}

/// What came of a swap.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Swapped {
    /// It happened.
    Done,
    /// Another record is there, or none.
    Lost(Option<Stored>),
}

/// Names one writing of a record: no other has the same, in any process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp(u128);

impl Stamp {
    /// A new one.
    #[expect(clippy::new_without_default, reason = "no two are equal, so there is no default")]
    pub fn new() -> Self {
        static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(std::process::id()));
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(u128::from(*PROCESS) << 64 | u128::from(LAST.fetch_add(1, Ordering::Relaxed)))
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for Stamp {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let digits = text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        let number = digits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        number.map(Self).ok_or_else(|| StoreError::corrupt("a stamp has 32 hexadecimal digits"))
    }
}

/// Both leave the state out: there may be a signed payment in it.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stamp, open, keep, .. } = self;
        let mut shown = f.debug_struct("Record");
        shown.field("stamp", stamp).field("open", open).field("keep", keep).finish_non_exhaustive()
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stamp, age, .. } = self;
        f.debug_struct("Stored").field("stamp", stamp).field("age", age).finish_non_exhaustive()
    }
}

/// A store that did not do its work.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    kind: StoreErrorKind,
    message: String,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// What went wrong with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// It did not answer: what was asked for may have happened.
    Unavailable,
    /// It has no room: what was asked for did not happen.
    Full,
    /// What it keeps is not what was put there.
    Corrupt,
}

impl StoreError {
    /// It did not answer.
    pub fn unavailable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let source: Arc<dyn std::error::Error + Send + Sync> = Arc::from(source.into());
        let message = format!("the claim store did not do its work: {source}");
        Self { kind: StoreErrorKind::Unavailable, message, source: Some(source) }
    }

    /// It has no room for another record, or a longer one; `why` says what it has room for.
    pub fn full(why: impl fmt::Display) -> Self {
        let message = format!("the claim store is full: {why}");
        Self { kind: StoreErrorKind::Full, message, source: None }
    }

    /// What it keeps is not what was put there; `expected` says what was to be there.
    pub fn corrupt(expected: impl fmt::Display) -> Self {
        let message = format!("the claim store holds what nobody put there: expected {expected}");
        Self { kind: StoreErrorKind::Corrupt, message, source: None }
    }

    /// What went wrong.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

/// Keeps records in this process: nothing of them is left when it ends, and no other process sees them. Clones are the
/// same store.
///
/// It is bounded: by the number of its records, and by the [room](Self::with_room) for what is long among them. A record
/// of a payment takes two kilobytes or less, unless an answer is kept with it.
#[derive(Clone)]
pub struct MemoryStore {
    records: Arc<Mutex<Records>>,
    capacity: usize,
    room: usize,
    now: fn() -> Duration,
}

/// What a record may take before it takes from the room for long ones.
const SHORT: usize = 4096;
/// The room for long records.
const ROOM: usize = 256 * 1024 * 1024;
/// How often the expired are swept out at most because there is no room.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Records {
    by_key: HashMap<Key, Kept>,
    /// The size at which the expired are next swept out: the cost of sweeping is spread over as many records.
    sweep_at: usize,
    /// How much is taken of the room for long records.
    taken: usize,
    swept: Option<Duration>,
}

struct Kept {
    record: Record,
    since: Duration,
}

impl Kept {
    fn is_expired(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) >= self.record.keep
    }

    fn stored(&self, now: Duration) -> Stored {
        let Record { stamp, state, .. } = self.record.clone();
        Stored { stamp, state, age: now.saturating_sub(self.since) }
    }
}

impl MemoryStore {
    /// An empty store for a million records at most.
    pub fn new() -> Self {
        Self::with_capacity(1_000_000)
    }

    /// An empty store for so many records at most.
    pub fn with_capacity(records: usize) -> Self {
        Self { records: Arc::default(), capacity: records, room: ROOM, now: uptime }
    }

    /// So many bytes at most for what records take beyond their first 4 KiB each, such as kept answers; 256 MiB unless
    /// said. What is short is kept all the same, and an answer for which there is no room is not kept.
    #[must_use]
    pub fn with_room(self, bytes: usize) -> Self {
        Self { room: bytes, ..self }
    }

    /// The one of this process, which its gates share unless told otherwise: a payment presented at two of them is
    /// still one payment.
    pub fn of_process() -> Self {
        static STORE: LazyLock<MemoryStore> = LazyLock::new(MemoryStore::new);
        STORE.clone()
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn swap_now(&self, key: &Key, seen: Option<Stamp>, next: Option<Record>) -> Result<Swapped, StoreError> {
        let now = (self.now)();
        let mut records = self.records();
        let found = records.by_key.get(key).filter(|kept| !kept.is_expired(now));
        let stamp = found.map(|kept| kept.record.stamp);
        match next {
            Some(next) if stamp == Some(next.stamp) => {}
            _ if stamp != seen => return Ok(Swapped::Lost(found.map(|kept| kept.stored(now)))),
            None => records.remove(key),
            Some(next) => {
                if !records.has_room(key, &next, now, self.room) {
                    let room = self.room;
                    return Err(StoreError::full(format_args!("it keeps {room} bytes of long records")));
                }
                if stamp.is_none() {
                    records.sweep(now, self.capacity);
                    if records.by_key.len() >= self.capacity {
                        let records = self.capacity;
                        return Err(StoreError::full(format_args!("it keeps {records} records")));
                    }
                }
                records.insert(key, Kept { record: next, since: now });
            }
        }
        Ok(Swapped::Done)
    }
}

/// Since some moment in the life of this process.
fn uptime() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}

impl Record {
    /// What it takes of the room for long records.
    fn excess(&self) -> usize {
        self.state.len().saturating_sub(SHORT)
    }
}

impl Records {
    fn insert(&mut self, key: &Key, kept: Kept) {
        self.taken += kept.record.excess();
        let replaced = self.by_key.insert(key.clone(), kept);
        self.taken -= replaced.map_or(0, |kept| kept.record.excess());
    }

    fn remove(&mut self, key: &Key) {
        self.taken -= self.by_key.remove(key).map_or(0, |kept| kept.record.excess());
    }

    /// Whether a record has room in the place of the one that is there.
    fn has_room(&mut self, key: &Key, next: &Record, now: Duration, room: usize) -> bool {
        let excess = next.excess();
        let fits = |this: &Self| {
            let freed = this.by_key.get(key).map_or(0, |kept| kept.record.excess());
            this.taken - freed + excess <= room
        };
        if excess == 0 || fits(self) {
            return true;
        }
        if self.may_sweep(now) {
            self.sweep_out(now);
        }
        fits(self)
    }

    /// A full store is asked again and again, and each sweep looks at all of it.
    fn may_sweep(&self, now: Duration) -> bool {
        self.swept.is_none_or(|swept| now.saturating_sub(swept) >= SWEEP_EVERY)
    }

    fn sweep(&mut self, now: Duration, capacity: usize) {
        let full = self.by_key.len() >= capacity;
        if self.by_key.len() >= self.sweep_at && (!full || self.may_sweep(now)) {
            self.sweep_out(now);
            self.sweep_at = (self.by_key.len() * 2).clamp(1024.min(capacity), capacity);
        }
    }

    fn sweep_out(&mut self, now: Duration) {
        self.by_key.retain(|_, kept| !kept.is_expired(now));
        self.taken = self.by_key.values().map(|kept| kept.record.excess()).sum();
        self.swept = Some(now);
    }
}

impl ClaimStore for MemoryStore {
    async fn load(&self, key: &Key) -> Result<Option<Stored>, StoreError> {
        let now = (self.now)();
        let records = self.records();
        Ok(records.by_key.get(key).filter(|kept| !kept.is_expired(now)).map(|kept| kept.stored(now)))
    }

    async fn swap(
        &self,
        key: &Key,
        seen: Option<Stamp>,
        next: Option<Record>,
    ) -> Result<Swapped, StoreError> {
        self.swap_now(key, seen, next)
    }

    async fn open(&self, space: &str) -> Result<BTreeMap<String, Stored>, StoreError> {
        let now = (self.now)();
        let records = self.records();
        let open = records
            .by_key
            .iter()
            .filter(|(key, kept)| key.space == space && kept.record.open && !kept.is_expired(now));
        Ok(open.map(|(key, kept)| (key.id.clone(), kept.stored(now))).collect())
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryStore({} records)", self.records().by_key.len())
    }
}

/// A [`ClaimStore`] with its type erased.
#[derive(Clone)]
pub struct AnyClaimStore(Arc<dyn Erased>);

impl AnyClaimStore {
    /// Erases the type.
    pub fn new(store: impl ClaimStore) -> Self {
        Self(Arc::new(store))
    }
}

impl ClaimStore for AnyClaimStore {
    async fn load(&self, key: &Key) -> Result<Option<Stored>, StoreError> {
        self.0.load(key).await
    }

    async fn swap(
        &self,
        key: &Key,
        seen: Option<Stamp>,
        next: Option<Record>,
    ) -> Result<Swapped, StoreError> {
        self.0.swap(key, seen, next).await
    }

    async fn open(&self, space: &str) -> Result<BTreeMap<String, Stored>, StoreError> {
        self.0.open(space).await
    }
}

impl<S: ClaimStore> ClaimStore for Arc<S> {
    async fn load(&self, key: &Key) -> Result<Option<Stored>, StoreError> {
        (**self).load(key).await
    }

    async fn swap(
        &self,
        key: &Key,
        seen: Option<Stamp>,
        next: Option<Record>,
    ) -> Result<Swapped, StoreError> {
        (**self).swap(key, seen, next).await
    }

    async fn open(&self, space: &str) -> Result<BTreeMap<String, Stored>, StoreError> {
        (**self).open(space).await
    }
}

impl fmt::Debug for AnyClaimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyClaimStore")
    }
}

trait Erased: Send + Sync {
    fn load<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Stored>, StoreError>>;
    fn swap<'a>(
        &'a self,
        key: &'a Key,
        seen: Option<Stamp>,
        next: Option<Record>,
    ) -> BoxFuture<'a, Result<Swapped, StoreError>>;
    fn open<'a>(&'a self, space: &'a str) -> BoxFuture<'a, Result<BTreeMap<String, Stored>, StoreError>>;
}

impl<S: ClaimStore> Erased for S {
    fn load<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Stored>, StoreError>> {
        Box::pin(ClaimStore::load(self, key))
    }

    fn swap<'a>(
        &'a self,
        key: &'a Key,
        seen: Option<Stamp>,
        next: Option<Record>,
    ) -> BoxFuture<'a, Result<Swapped, StoreError>> {
        Box::pin(ClaimStore::swap(self, key, seen, next))
    }

    fn open<'a>(&'a self, space: &'a str) -> BoxFuture<'a, Result<BTreeMap<String, Stored>, StoreError>> {
        Box::pin(ClaimStore::open(self, space))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(store: &MemoryStore, id: usize, keep: u64) -> Result<Swapped, StoreError> {
        let keep = Duration::from_secs(keep);
        let record = Record { stamp: Stamp::new(), state: String::new(), open: false, keep };
        store.swap_now(&Key::new("test", id.to_string()), None, Some(record))
    }

    #[test]
    fn what_expired_makes_room_and_what_is_kept_does_not() {
        let store = MemoryStore::with_capacity(10_000);
        for id in 0..50_000 {
            assert_eq!(fill(&store, id, 0).unwrap(), Swapped::Done);
        }
        assert!(store.records().by_key.len() < 2_100);
        for id in 50_000..60_000 {
            assert_eq!(fill(&store, id, 60).unwrap(), Swapped::Done);
        }
        assert_eq!(fill(&store, 60_000, 60).unwrap_err().kind(), StoreErrorKind::Full);
        assert!(
            matches!(fill(&store, 50_000, 60).unwrap(), Swapped::Lost(Some(_))),
            "what is there is there"
        );
    }

    #[test]
    fn a_full_store_is_swept_once_a_second() {
        static NOW: AtomicU64 = AtomicU64::new(0);
        let store = MemoryStore {
            now: || Duration::from_millis(NOW.load(Ordering::SeqCst)),
            ..MemoryStore::with_capacity(2000)
        };
        for id in 0..2000 {
            assert_eq!(fill(&store, id, 60).unwrap(), Swapped::Done);
        }
        let refused = |id| fill(&store, id, 60).unwrap_err().kind() == StoreErrorKind::Full;
        assert!(refused(2000));
        NOW.store(60_999, Ordering::SeqCst);
        store.records().swept = Some(Duration::from_secs(60));
        assert!(refused(2000), "it was swept a moment ago");
        NOW.store(61_000, Ordering::SeqCst);
        assert_eq!(fill(&store, 2000, 60).unwrap(), Swapped::Done);
        assert_eq!(store.records().by_key.len(), 1);
    }

    #[test]
    fn what_is_long_has_so_much_room_and_what_is_short_is_kept_all_the_same() {
        const LONG: usize = SHORT + 1000;
        let store =
            MemoryStore { now: || Duration::from_secs(NOW.load(Ordering::SeqCst)), ..MemoryStore::new() };
        static NOW: AtomicU64 = AtomicU64::new(0);
        let store = store.with_room(2500);
        let put = |id: &str, bytes: usize, seen: Option<Stamp>| {
            let stamp = Stamp::new();
            let keep = Duration::from_secs(60);
            let record = Record { stamp, state: "x".repeat(bytes), open: false, keep };
            match store.swap_now(&Key::new("test", id), seen, Some(record)) {
                Ok(swapped) => {
                    assert_eq!(swapped, Swapped::Done);
                    Ok(stamp)
                }
                Err(error) => Err(error.kind()),
            }
        };
        let (a, b) = (put("a", LONG, None).unwrap(), put("b", LONG, None).unwrap());
        assert_eq!(put("c", LONG, None), Err(StoreErrorKind::Full));
        let c = put("c", SHORT, None).unwrap();
        assert_eq!(put("c", LONG, Some(c)), Err(StoreErrorKind::Full), "nor may it grow");
        let a = put("a", LONG + 500, Some(a)).unwrap();
        let a = put("a", 10, Some(a)).unwrap();
        put("c", LONG, Some(c)).unwrap();
        assert_eq!(store.swap_now(&Key::new("test", "b"), Some(b), None).unwrap(), Swapped::Done);
        assert_eq!(store.records().taken, 1000);
        put("a", LONG, Some(a)).unwrap();
        assert_eq!(put("d", LONG, None), Err(StoreErrorKind::Full));
        NOW.store(60, Ordering::SeqCst);
        put("d", LONG + 1500, None).expect("what expired makes room");
        assert_eq!(store.records().taken, 2500);
    }

    #[test]
    fn no_two_writings_have_one_stamp_and_each_is_read_as_it_was_written() {
        let stamps: std::collections::HashSet<Stamp> = (0..1000).map(|_| Stamp::new()).collect();
        assert_eq!(stamps.len(), 1000);
        assert!(stamps.iter().all(|stamp| stamp.to_string().parse::<Stamp>().unwrap() == *stamp));
        for bad in ["", "12", "+0000000000000000000000000000001", "zz000000000000000000000000000000"] {
            assert_eq!(bad.parse::<Stamp>().unwrap_err().kind(), StoreErrorKind::Corrupt, "{bad:?}");
        }
    }
}
