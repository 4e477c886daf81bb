//! The two files that `torch.save` writes: a zip archive, and before it pickles one behind the other. Reads storages by
//! their names; knows nothing of what is in them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use zip::read::ZipReadOptions;
use zip::{CompressionMethod, ZipArchive};

use super::pickle::{Node, Pickle, Value};
use super::tensor;
use crate::weights::{AGAIN, MAX_FILE_BYTES, MAX_UNFOLDING, UNFOLDING_FLOOR_BYTES};

/// Longest text beside the pickle of an archive.
const MAX_TEXT_BYTES: u64 = 64;
/// Most entries of an archive that are looked at by name.
const MAX_ENTRIES: usize = 1 << 18;
/// Longest pickle in an archive, as it unfolds.
const MAX_PICKLE_BYTES: u64 = MAX_FILE_BYTES;
/// The first bytes of a legacy file, as a pickle.
const LEGACY_MAGIC: &[u8] = &[0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// The same number as protocol 0 writes it.
const LEGACY_MAGIC_TEXT: &[u8] = b"119547037146038801333356";
/// How far into the file it is looked for.
const LEGACY_SEARCH_BYTES: usize = 64;
/// The only version of a legacy file.
const LEGACY_VERSION: i64 = 1001;

/// Where the bytes of storages are.
pub(super) enum Storages {
    Zip(Mutex<Archive>),
    /// Offset and length in bytes of each.
    Legacy(Mutex<File>, BTreeMap<String, (u64, u64)>),
    /// A pickle alone has none.
    None,
}

/// An opened archive.
pub(super) struct Archive {
    zip: ZipArchive<BufReader<File>>,
    /// The same file once more: the archive keeps a place in its own.
    file: File,
    /// The folder of its pickle, with a slash, or nothing.
    root: String,
    file_bytes: u64,
    /// The storage that was inflated last: tensors may share one.
    inflated: Option<(String, Arc<Vec<u8>>)>,
}

/// Opens a file of PyTorch and reads its pickle.
pub(super) fn open(path: &Path) -> Result<(Pickle, Storages), String> {
    let mut file = File::open(path).map_err(told)?;
    let mut head = Vec::new();
    file.by_ref()
        .take(LEGACY_SEARCH_BYTES as u64)
        .read_to_end(&mut head)
        .map_err(told)?;
    file.seek(SeekFrom::Start(0)).map_err(told)?;
    if head.starts_with(b"PK") {
        return zip(file, File::open(path).map_err(told)?);
    }
    let has = |magic: &[u8]| head.windows(magic.len()).any(|part| part == magic);
    if has(LEGACY_MAGIC) || has(LEGACY_MAGIC_TEXT) {
        return legacy(file);
    }
    let pickle = Pickle::read(&mut BufReader::new(file))?;
    Ok((pickle, Storages::None))
}

fn zip(file: File, again: File) -> Result<(Pickle, Storages), String> {
    let file_bytes = file.metadata().map_err(told)?.len();
    let mut zip =
        ZipArchive::new(BufReader::new(file)).map_err(|error| format!("a broken archive ({error}): {AGAIN}"))?;
    if zip.len() > MAX_ENTRIES {
        return Err(format!("an archive of more than {MAX_ENTRIES} entries"));
    }
    let names: Vec<String> = zip
        .file_names()
        .filter_map(|name| Some(name.ok()?.to_string()))
        .collect();
    let roots = names.iter().filter_map(|name| name.strip_suffix("data.pkl"));
    let root = roots
        .filter(|root| root.is_empty() || root.ends_with('/'))
        .min_by_key(|root| root.len());
    let root = root.ok_or("an archive without a `data.pkl`")?.to_owned();
    let is_script =
        |name: &String| *name == format!("{root}constants.pkl") || name.starts_with(&format!("{root}code/"));
    if names.iter().any(is_script) {
        return Err("a TorchScript archive".to_owned());
    }
    let order = entry(&mut zip, &format!("{root}byteorder"), MAX_TEXT_BYTES);
    if order.is_ok_and(|order| order.trim_ascii() == b"big") {
        return Err("its numbers are big-endian: save it again on another machine".to_owned());
    }
    let index = zip
        .index_for_name(&format!("{root}data.pkl"))
        .ok_or("an archive without a `data.pkl`")?;
    let pickle = zip.by_index(index).map_err(|error| error.to_string())?;
    let pickle = Pickle::read(&mut BufReader::new(pickle.take(MAX_PICKLE_BYTES)))?;
    let archive = Archive {
        zip,
        file: again,
        root,
        file_bytes,
        inflated: None,
    };
    Ok((pickle, Storages::Zip(Mutex::new(archive))))
}

/// A number, a version and a system's properties, the pickle itself, the names of its storages, and their bytes.
fn legacy(file: File) -> Result<(Pickle, Storages), String> {
    let file_bytes = file.metadata().map_err(told)?.len();
    let mut input = BufReader::new(file);
    Pickle::read(&mut input)?;
    let version = Pickle::read(&mut input)?;
    if version.root != Value::Int(LEGACY_VERSION) {
        return Err(format!("a legacy file of another version than {LEGACY_VERSION}"));
    }
    let system = Pickle::read(&mut input)?;
    if let Some(Node::Dict(items)) = system.node(system.root) {
        let order = items.iter().find(|(key, _)| system.text(*key) == Some("little_endian"));
        if order.is_some_and(|(_, is_little)| *is_little == Value::Bool(false)) {
            return Err("its numbers are big-endian: save it again on another machine".to_owned());
        }
    }
    let pickle = Pickle::read(&mut input)?;
    let keys = Pickle::read(&mut input)?;
    let mut at = input.stream_position().map_err(told)?;
    let sizes = storage_sizes(&pickle);
    let mut places = BTreeMap::new();
    for key in keys
        .sequence(keys.root)
        .ok_or("a legacy file without the names of its storages")?
    {
        let key = match (*key, keys.text(*key)) {
            (Value::Int(number), _) => number.to_string(),
            (_, text) => text.unwrap_or_default().to_owned(),
        };
        // Each has its length in numbers in front of it.
        let mut length = [0; 8];
        input.seek(SeekFrom::Start(at)).map_err(told)?;
        input.read_exact(&mut length).map_err(told)?;
        let length = u64::from_le_bytes(length);
        let element_bytes = sizes.get(&key).copied().ok_or("a storage that no tensor uses")?;
        let length = length.checked_mul(element_bytes as u64);
        let place = length.and_then(|length| Some((at.checked_add(8)?, length)));
        let end = place.and_then(|(start, length)| Some((start, length, start.checked_add(length)?)));
        let (start, length, end) = end
            .filter(|(_, _, end)| *end <= file_bytes)
            .ok_or_else(|| format!("it ends in the middle: {AGAIN}"))?;
        places.insert(key, (start, length));
        at = end;
    }
    Ok((pickle, Storages::Legacy(Mutex::new(input.into_inner()), places)))
}

/// Bytes of one number of each storage that the pickle names.
fn storage_sizes(pickle: &Pickle) -> BTreeMap<String, usize> {
    let named = pickle.nodes().filter_map(|(_, node)| match node {
        Node::Persistent(id) => tensor::storage(pickle, *id).ok(),
        _ => None,
    });
    let sizes = named.map(|storage| (storage.key, storage.element.map_or(1, |(_, bytes)| bytes)));
    sizes.collect()
}

impl Storages {
    /// Bytes of a storage.
    pub(super) fn read(&self, key: &str, start: u64, length: u64) -> Result<Vec<u8>, String> {
        match self {
            Self::Zip(archive) => {
                let mut archive = archive.lock().unwrap_or_else(PoisonError::into_inner);
                archive.read(key, start, length)
            }
            Self::Legacy(file, places) => {
                let (at, bytes) = places.get(key).ok_or("its storage is not in the file")?;
                if start.checked_add(length).is_none_or(|end| end > *bytes) {
                    return Err("it reaches beyond its storage".to_owned());
                }
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                read_at(&mut *file, at + start, length)
            }
            Self::None => Err("its storage is not in the file".to_owned()),
        }
    }
}

impl Archive {
    fn read(&mut self, key: &str, start: u64, length: u64) -> Result<Vec<u8>, String> {
        let name = format!("{}data/{key}", self.root);
        let index = self.zip.index_for_name(&name).ok_or("its storage is not in the file")?;
        let raw = self.zip.by_index_raw(index).map_err(|error| error.to_string())?;
        let (size, is_stored) = (raw.size(), raw.compression() == CompressionMethod::Stored);
        let (place, kept) = (raw.data_start(), raw.compressed_size());
        drop(raw);
        if start.checked_add(length).is_none_or(|end| end > size) {
            return Err("it reaches beyond its storage".to_owned());
        }
        if is_stored && (start, length) != (0, size) {
            let place =
                place.filter(|at| kept == size && at.checked_add(size).is_some_and(|end| end <= self.file_bytes));
            let place = place.ok_or("its storage reaches beyond the file")?;
            return read_at(&self.file, place + start, length);
        }
        if size > self.file_bytes.saturating_mul(MAX_UNFOLDING).max(UNFOLDING_FLOOR_BYTES) {
            return Err("its storage unfolds to much more than the file".to_owned());
        }
        // Whole, so that its checksum is looked at.
        let known = self.inflated.as_ref().filter(|(known, _)| *known == name);
        let whole = match known {
            Some((_, whole)) => Arc::clone(whole),
            None => Arc::new(entry(&mut self.zip, &name, size)?),
        };
        let range = start as usize..(start + length) as usize;
        let bytes = whole.get(range).ok_or("it reaches beyond its storage")?.to_vec();
        if !is_stored && bytes.len() < whole.len() {
            self.inflated = Some((name, whole));
        }
        Ok(bytes)
    }
}

/// An entry of at most so many bytes. A checksum of 0 says that none was made.
fn entry(zip: &mut ZipArchive<BufReader<File>>, name: &str, limit: u64) -> Result<Vec<u8>, String> {
    let index = zip.index_for_name(name).ok_or("an entry is not there")?;
    let has_checksum = zip.by_index_raw(index).map_err(|error| error.to_string())?.crc32() != 0;
    let options = ZipReadOptions::new().ignore_crc32(!has_checksum);
    let entry = zip
        .by_index_with_options(index, options)
        .map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    // One byte more: reading to the end is what looks at the checksum.
    entry.take(limit + 1).read_to_end(&mut bytes).map_err(told)?;
    match bytes.len() as u64 > limit {
        true => Err("an entry is longer than it says".to_owned()),
        false => Ok(bytes),
    }
}

fn read_at(mut file: impl Read + Seek, at: u64, length: u64) -> Result<Vec<u8>, String> {
    file.seek(SeekFrom::Start(at)).map_err(told)?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes).map_err(told)?;
    match bytes.len() as u64 == length {
        true => Ok(bytes),
        false => Err(format!("the file ends in the middle of it: {AGAIN}")),
    }
}

fn told(error: std::io::Error) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof => format!("it ends in the middle: {AGAIN}"),
        // An entry of an archive: its checksum is wrong, or it cannot be inflated.
        ErrorKind::InvalidData | ErrorKind::InvalidInput => format!("{error}: {AGAIN}"),
        _ => error.to_string(),
    }
}
