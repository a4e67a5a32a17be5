//! Where the file system is on the card, and how it is laid out.

use embedded_sdmmc::BlockDevice;
use kift_core::wire::Code;

use super::MountError;
use super::blocks::{BLOCK_LEN, Blocks, Tables};

/// The kinds of partition that a FAT16 or FAT32 is in.
const KINDS: [u8; 5] = [0x04, 0x06, 0x0b, 0x0c, 0x0e];

/// Fewer clusters are a FAT12, and fewer than the second a FAT16.
const CLUSTERS: [u32; 2] = [4085, 65525];

/// The layout of a FAT16 or FAT32.
#[derive(Debug, Clone, Copy)]
pub(super) struct Volume {
    pub tables: Tables,
    pub root: Root,
    /// The first block of the first cluster, which has the number 2.
    pub data: u32,
    /// Blocks of a cluster.
    pub cluster_len: u32,
    /// The last cluster has the number before this.
    pub end: u32,
    /// A FAT32.
    pub is_wide: bool,
    /// Where a FAT32 says how many clusters are free.
    pub info: Option<u32>,
}

/// Where the root directory is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Root {
    /// In so many blocks from the first of these on.
    Blocks(u32, u32),
    /// In a chain of clusters like others.
    Cluster(u32),
}

impl Volume {
    /// Finds the file system in the first partition of a card, or without partitions.
    pub(super) fn find<D: BlockDevice>(blocks: &mut Blocks<D>) -> Result<Self, MountError> {
        let first = *blocks.get(0)?;
        if let Some(volume) = Self::parse(&first, 0) {
            return Ok(volume);
        }
        let is_table = u16_at(&first, 510) == 0xaa55 && KINDS.contains(&first[450]);
        let start = if is_table { u32_at(&first, 454) } else { 0 };
        if start == 0 {
            return Err(MountError::Foreign);
        }
        Self::parse(blocks.get(start)?, start).ok_or(MountError::Foreign)
    }

    fn parse(boot: &[u8; BLOCK_LEN], start: u32) -> Option<Self> {
        let is_boot = u16_at(boot, 510) == 0xaa55 && matches!(boot[0], 0xe9 | 0xeb);
        if !is_boot || u16_at(boot, 11) as usize != BLOCK_LEN {
            return None;
        }
        let either = |short: u16, long: u32| if short == 0 { long } else { short.into() };
        let cluster_len = u32::from(boot[13]);
        let reserved = u32::from(u16_at(boot, 14));
        let count = u32::from(boot[16]);
        let root_len = u32::from(u16_at(boot, 17)).div_ceil((BLOCK_LEN / 32) as u32);
        let total = either(u16_at(boot, 19), u32_at(boot, 32));
        let len = either(u16_at(boot, 22), u32_at(boot, 36));
        if !cluster_len.is_power_of_two() || !(1..=2).contains(&count) || reserved == 0 || len == 0
        {
            return None;
        }
        let before_root = len.checked_mul(count)?.checked_add(reserved)?;
        let before_data = before_root.checked_add(root_len)?;
        start.checked_add(total)?;
        let clusters = total.checked_sub(before_data)?.checked_div(cluster_len)?;
        let is_wide = clusters >= CLUSTERS[1];
        let entry_len = if is_wide { 4 } else { 2 };
        let end = clusters.checked_add(2)?.min(len.checked_mul(BLOCK_LEN as u32)? / entry_len);
        // Only the first table is in use where this says so, or another.
        let is_mirrored = !is_wide || u16_at(boot, 40) & 0x80 == 0;
        if clusters < CLUSTERS[0] || !is_mirrored || is_wide && u16_at(boot, 42) != 0 {
            return None;
        }
        let root = match is_wide {
            true => Root::Cluster(u32_at(boot, 44)),
            false => Root::Blocks(start + before_root, root_len),
        };
        let info = u32::from(u16_at(boot, 48));
        Some(Self {
            tables: Tables { start: start + reserved, len, count },
            root,
            data: start + before_data,
            cluster_len,
            end,
            is_wide,
            info: (is_wide && info > 0 && info < reserved).then(|| start + info),
        })
    }

    /// The first block of a cluster.
    pub(super) fn block(&self, cluster: u32) -> Result<u32, Code> {
        match cluster.checked_sub(2) {
            Some(index) if cluster < self.end => Ok(self.data + index * self.cluster_len),
            _ => Err(Code::Io),
        }
    }

    /// Bytes of a cluster.
    pub(super) const fn cluster_bytes(&self) -> u32 {
        self.cluster_len * BLOCK_LEN as u32
    }
}

pub(super) fn u16_at(block: &[u8], at: usize) -> u16 {
    match block.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(bytes) => u16::from_le_bytes(*bytes),
        None => 0,
    }
}

pub(super) fn u32_at(block: &[u8], at: usize) -> u32 {
    match block.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(bytes) => u32::from_le_bytes(*bytes),
        None => 0,
    }
}

/// Puts `bytes` into a block.
pub(super) fn put_at(block: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = block.get_mut(at..) {
        place.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    }
}

impl From<Code> for MountError {
    fn from(code: Code) -> Self {
        match code {
            Code::NoSpace | Code::TooMany => Self::NoSpace,
            _ => Self::Io,
        }
    }
}
