//! The table of names: a record a slot, and one about the store as a whole.

use core::pin::pin;
use core::task::{Context, Poll, Waker, ready};

use kift_core::storage::Outcome;
use kift_core::wire::Code;
use sequential_storage::Error;
use sequential_storage::cache::Cache;
use sequential_storage::cache::key_pointers::ArrayKeyPointers;
use sequential_storage::cache::page_pointers::ArrayPagePointers;
use sequential_storage::cache::page_states::ArrayPageStates;
use sequential_storage::map::{MapConfig, MapStorage};

use super::gate::Gate;
use super::record::{ITEM_LEN_MAX, Item, Record, Slot, Volume};
use super::rest::{Mark, Rest};
use super::{DATA_BLOCK, FILES_MAX, Flash, JOURNAL_BLOCKS, RESTS_MAX, TABLE_BLOCKS};
use crate::disk::{Errand, PEERS_MAX, PeerRecord, Secret, Which};

/// The key of what is known of the store as a whole.
const VOLUME: Slot = Slot::MAX;

/// The key of the device's own key.
const IDENTITY: Slot = Slot::MAX - 1;

/// The key of the seed of its random numbers.
const SEED: Slot = Slot::MAX - 2;

/// The key of the first of its peers.
const PEERS: Slot = Slot::MAX - 2 - PEERS_MAX as Slot;

/// The key of what is being sent.
const ERRAND: Slot = PEERS - 1;

/// The keys of the first rest, and of its mark.
const RESTS: Slot = ERRAND - RESTS_MAX as Slot;
const MARKS: Slot = RESTS - RESTS_MAX as Slot;

/// Items that are no file's or directory's.
const OWN_ITEMS: usize = 4 + PEERS_MAX + 2 * RESTS_MAX;

const _: () = assert!(MARKS as usize >= FILES_MAX);

const PAGES: usize = TABLE_BLOCKS as usize;

type TableCache = Cache<
    ArrayPageStates<PAGES>,
    ArrayPagePointers<PAGES>,
    ArrayKeyPointers<Slot, { FILES_MAX + OWN_ITEMS }>,
    Slot,
>;

pub(super) struct Table<F: Flash> {
    map: MapStorage<Slot, Gate<F>, TableCache>,
    scratch: [u8; ITEM_LEN_MAX],
}

impl<F: Flash> Table<F> {
    /// The table of a flash whose blocks are of a size that the map takes; none where they are not.
    pub(super) fn new(gate: Gate<F>) -> Option<Self> {
        let block = F::ERASE_SIZE as u32;
        let range = JOURNAL_BLOCKS.checked_mul(block)?..DATA_BLOCK.checked_mul(block)?;
        let config = MapConfig::try_new(range).ok()?;
        let cache =
            Cache::new(ArrayPageStates::new(), ArrayPagePointers::new(), ArrayKeyPointers::new());
        Some(Self { map: MapStorage::new(gate, config, cache), scratch: [0; ITEM_LEN_MAX] })
    }

    /// The flash, once the erase that may go on is done.
    pub(super) fn gate(&mut self) -> Outcome<&mut Gate<F>> {
        let gate = self.map.flash();
        match ready!(gate.settle()) {
            Ok(()) => Poll::Ready(Ok(gate)),
            Err(_) => Poll::Ready(Err(Code::Io)),
        }
    }

    /// The flash, whatever it does.
    pub(super) fn flash(&mut self) -> &mut F {
        self.map.flash().flash()
    }

    pub(super) fn get(&mut self, slot: Slot) -> Outcome<Option<Record<'_>>> {
        Poll::Ready(match ready!(self.fetch(slot))? {
            Some(Item::Record(record)) => Ok(Some(record)),
            _ => Ok(None),
        })
    }

    pub(super) fn secret(&mut self, which: Which) -> Outcome<Option<Secret>> {
        Poll::Ready(match ready!(self.fetch(secret_key(which)))? {
            Some(Item::Secret(secret)) => Ok(Some(secret)),
            _ => Ok(None),
        })
    }

    pub(super) fn peer(&mut self, place: usize) -> Outcome<Option<PeerRecord>> {
        Poll::Ready(match ready!(self.fetch(peer_key(place)))? {
            Some(Item::Peer(peer)) => Ok(Some(peer)),
            _ => Ok(None),
        })
    }

    pub(super) fn errand(&mut self) -> Outcome<Option<Errand>> {
        Poll::Ready(match ready!(self.fetch(ERRAND))? {
            Some(Item::Errand(errand)) => Ok(Some(errand)),
            _ => Ok(None),
        })
    }

    pub(super) fn rest(&mut self, place: usize) -> Outcome<Option<Rest>> {
        Poll::Ready(match ready!(self.fetch(rest_key(place)))? {
            Some(Item::Rest(rest)) => Ok(Some(rest)),
            _ => Ok(None),
        })
    }

    fn fetch(&mut self, key: Slot) -> Outcome<Option<Item<'_>>> {
        ready!(self.gate())?;
        let Self { map, scratch } = self;
        once(map.fetch_item(scratch, &key))
    }

    pub(super) fn set(&mut self, slot: Slot, record: Record<'_>) -> Outcome<()> {
        self.store(slot, &Item::Record(record))
    }

    pub(super) fn set_volume(&mut self, volume: Volume) -> Outcome<()> {
        self.store(VOLUME, &Item::Volume(volume))
    }

    pub(super) fn set_secret(&mut self, which: Which, secret: Secret) -> Outcome<()> {
        self.store(secret_key(which), &Item::Secret(secret))
    }

    pub(super) fn set_peer(&mut self, place: usize, peer: PeerRecord) -> Outcome<()> {
        self.store(peer_key(place), &Item::Peer(peer))
    }

    pub(super) fn set_errand(&mut self, errand: Errand) -> Outcome<()> {
        self.store(ERRAND, &Item::Errand(errand))
    }

    pub(super) fn remove_errand(&mut self) -> Outcome<()> {
        self.remove(ERRAND)
    }

    pub(super) fn set_rest(&mut self, place: usize, rest: Rest) -> Outcome<()> {
        self.store(rest_key(place), &Item::Rest(rest))
    }

    pub(super) fn set_mark(&mut self, place: usize, mark: Mark) -> Outcome<()> {
        self.store(MARKS.saturating_add(place as Slot), &Item::Mark(mark))
    }

    pub(super) fn remove_rest(&mut self, place: usize) -> Outcome<()> {
        self.remove(rest_key(place))
    }

    fn store(&mut self, slot: Slot, item: &Item<'_>) -> Outcome<()> {
        ready!(self.prepare())?;
        let Self { map, scratch } = self;
        let stored = ready!(once(map.store_item(scratch, &slot, item)));
        map.flash().complete();
        Poll::Ready(stored)
    }

    /// To be called before a change.
    fn prepare(&mut self) -> Outcome<()> {
        self.map.flash().prepare().map_err(|_| Code::Io)
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Outcome<()> {
        ready!(self.prepare())?;
        let Self { map, scratch } = self;
        let removed = ready!(once(map.remove_item(scratch, &slot)));
        map.flash().complete();
        Poll::Ready(removed)
    }

    /// Tells every item, an earlier one of a slot before a later one. Does not come to an end before
    /// the erase that a repair may take.
    pub(super) fn each(&mut self, mut tell: impl FnMut(Slot, Item<'_>)) -> Outcome<()> {
        ready!(self.gate())?;
        let Self { map, scratch } = self;
        once(async {
            let mut items = map.fetch_all_items(scratch).await?;
            while let Some((slot, item)) = items.next::<Item<'_>>(scratch).await? {
                tell(slot, item);
            }
            Ok(())
        })
    }
}

const fn rest_key(place: usize) -> Slot {
    RESTS.saturating_add(place as Slot)
}

/// The place of a rest whose item or mark has this key.
pub(super) const fn rest_place(key: Slot) -> usize {
    (if key >= RESTS { key - RESTS } else { key.saturating_sub(MARKS) }) as usize
}

const fn secret_key(which: Which) -> Slot {
    match which {
        Which::Identity => IDENTITY,
        Which::Seed => SEED,
    }
}

const fn peer_key(place: usize) -> Slot {
    PEERS.saturating_add(place as Slot)
}

/// Polls a future that is done at once, or dropped: see [`Gate`].
fn once<T, E>(future: impl Future<Output = Result<T, Error<E>>>) -> Outcome<T> {
    let mut context = Context::from_waker(Waker::noop());
    pin!(future).poll(&mut context).map_err(|error| match error {
        Error::FullStorage => Code::NoSpace,
        Error::Storage { .. } | Error::Corrupted { .. } => Code::Io,
        _ => Code::Internal,
    })
}
