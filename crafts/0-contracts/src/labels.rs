//! Labels: what makes a series itself.
//!
//! A series is named by its labels alone, and its metric name is the label [`METRIC_NAME`]. There is one
//! canonical form, bytes, so that two series are the same exactly when their bytes are: labels in ascending
//! order of their names, no name twice, no empty value (an empty value means "not there", as in Prometheus).
//!
//! ```text
//! label = name_len u8 · value_len u16 (little endian) · name · value
//! ```

use crate::limits::{LABEL_NAME_BYTES_MAX, LABEL_VALUE_BYTES_MAX, LABELS_PER_SERIES_MAX};
use arrayvec::ArrayVec;
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeMap};
use std::{cmp::Ordering, collections::BTreeMap, fmt, ops::Range};

/// The label that holds the metric name.
pub const METRIC_NAME: &str = "__name__";

/// Bytes before the name and the value of one label.
const LABEL_HEAD_BYTES: usize = 3;

/// Why a set of labels was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// A metric name outside `[a-zA-Z_:][a-zA-Z0-9_:]*`.
    #[error("metric name {0:?} may hold only letters, digits, '_' and ':', and may not begin with a digit")]
    BadMetricName(String),
    /// A label name outside `[a-zA-Z_][a-zA-Z0-9_]*`.
    #[error("label name {0:?} may hold only letters, digits and '_', and may not begin with a digit")]
    BadName(String),
    /// The same name twice.
    #[error("label {0:?} is given twice")]
    Twice(String),
    /// A name over [`LABEL_NAME_BYTES_MAX`].
    #[error("label name {0:?}… has {1} bytes, the most is {LABEL_NAME_BYTES_MAX}")]
    NameTooLong(String, usize),
    /// A value over [`LABEL_VALUE_BYTES_MAX`].
    #[error("the value of label {0:?} has {1} bytes, the most is {LABEL_VALUE_BYTES_MAX}")]
    ValueTooLong(String, usize),
    /// More than [`LABELS_PER_SERIES_MAX`].
    #[error("{0} or more labels, the most is {LABELS_PER_SERIES_MAX}")]
    TooMany(usize),
    /// Bytes that are not the canonical form.
    #[error("the label bytes are not canonical at byte {0}")]
    NotCanonical(usize),
}

/// Borrowed labels in canonical form. Cheap to copy. Equal are those with the same bytes; the order is that of a
/// dictionary, by names and values, as people expect it of a list.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct LabelsView<'a> {
    bytes: &'a [u8],
}

impl<'a> LabelsView<'a> {
    /// Checks `bytes` and borrows them.
    ///
    /// # Errors
    /// Any [`LabelError`]; [`LabelError::NotCanonical`] names the byte where the form is broken.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, LabelError> {
        let mut at = 0;
        let mut count = 0;
        let mut before = "";
        while at < bytes.len() {
            let (name, value, next) = label_at(bytes, at).ok_or(LabelError::NotCanonical(at))?;
            check_label(name, value)?;
            if value.is_empty() || (count > 0 && before >= name) {
                return Err(LabelError::NotCanonical(at));
            }
            (before, at, count) = (name, next, count + 1);
        }
        if count > LABELS_PER_SERIES_MAX {
            return Err(LabelError::TooMany(count));
        }
        Ok(Self { bytes })
    }

    /// Borrows bytes that were checked before. Wrong bytes give wrong or no labels, never a panic.
    pub(crate) fn trusted(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The canonical bytes: the key of the series.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Names and values, in ascending order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let bytes = self.bytes;
        let mut at = 0;
        std::iter::from_fn(move || {
            let (name, value, next) = label_at(bytes, at)?;
            at = next;
            Some((name, value))
        })
    }

    /// The value of a label; an absent label has the empty value.
    pub fn get(&self, name: &str) -> &'a str {
        self.iter().find(|(n, _)| *n == name).map_or("", |(_, value)| value)
    }

    /// The metric name, empty if there is none.
    pub fn metric_name(&self) -> &'a str {
        self.get(METRIC_NAME)
    }

    /// Owned labels.
    pub fn to_labels(self) -> Labels {
        Labels { bytes: self.bytes.into() }
    }
}

impl Ord for LabelsView<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl PartialOrd for LabelsView<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// As Prometheus writes a series: `cpu{core="0"}`.
impl fmt::Display for LabelsView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.metric_name())?;
        let mut open = false;
        for (name, value) in self.iter().filter(|(name, _)| *name != METRIC_NAME) {
            write!(f, "{}{name}={value:?}", if open { "," } else { "{" })?;
            open = true;
        }
        f.write_str(if open { "}" } else { "" })
    }
}

impl fmt::Debug for LabelsView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Owned labels in canonical form: one allocation, whatever their number. Ordered as [`LabelsView`] is.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Labels {
    bytes: Box<[u8]>,
}

impl Labels {
    /// Labels from pairs in any order, the metric name among them as [`METRIC_NAME`] if there is one.
    ///
    /// # Errors
    /// Any [`LabelError`] but `NotCanonical`.
    pub fn new<'p>(pairs: impl IntoIterator<Item = (&'p str, &'p str)>) -> Result<Self, LabelError> {
        let mut bytes = Vec::new();
        write_canonical(pairs, &mut bytes)?;
        Ok(Self { bytes: bytes.into() })
    }

    /// Borrows them.
    pub fn view(&self) -> LabelsView<'_> {
        LabelsView { bytes: &self.bytes }
    }

    /// The same labels without some of them.
    pub fn without(&self, names: &[&str]) -> Self {
        let mut bytes = Vec::with_capacity(self.bytes.len());
        for (name, value) in self.view().iter().filter(|(name, _)| !names.contains(name)) {
            write_label(name, value, &mut bytes);
        }
        Self { bytes: bytes.into() }
    }
}

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.view().cmp(&other.view())
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view().fmt(f)
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view().fmt(f)
    }
}

/// A JSON object of names and values, as in Prometheus's API.
impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.view().iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = BTreeMap::<String, String>::deserialize(deserializer)?;
        Self::new(map.iter().map(|(n, v)| (n.as_str(), v.as_str()))).map_err(serde::de::Error::custom)
    }
}

/// Sorts and checks `pairs` and appends their canonical form to `out`, which is untouched on error.
pub(crate) fn write_canonical<'p>(
    pairs: impl IntoIterator<Item = (&'p str, &'p str)>,
    out: &mut Vec<u8>,
) -> Result<(), LabelError> {
    Order::default().write(pairs, 0..0, out)
}

/// In which order labels are written that came in another. Labels that follow each other nearly always have the same names
/// and come in the same order: what was sorted and checked for one set needs no second time for the next.
///
/// Invariant: the places of some labels, each of them once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Order(ArrayVec<u8, LABELS_PER_SERIES_MAX>);

impl Order {
    /// Appends the canonical form of `pairs` to `out`, which is untouched on error. At `like` stand, in `out`, the
    /// canonical labels of which they are likely to have the names.
    pub(crate) fn write<'p>(
        &mut self,
        pairs: impl IntoIterator<Item = (&'p str, &'p str)>,
        like: Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<(), LabelError> {
        // On the stack, since this runs once a series on the ingest path, where nothing may be allocated; and not an array
        // of empty labels, since filling its 2 KiB is more work than the few labels that most series have.
        let mut held = ArrayVec::<_, LABELS_PER_SERIES_MAX>::new();
        for pair in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
            held.try_push(pair).map_err(|_| LabelError::TooMany(LABELS_PER_SERIES_MAX + 1))?;
        }
        let start = out.len();
        if self.write_like(&held, like, out) {
            return Ok(());
        }
        out.truncate(start);
        self.sort(&held)?;
        for &place in &self.0 {
            let (name, value) = held[usize::from(place)];
            write_label(name, value, out);
        }
        Ok(())
    }

    /// Writes labels that have the same names as those that stand at `like`, and come in the remembered order; `false` says
    /// that they do not. Their names are good, then, and sorted, since those are.
    #[inline]
    fn write_like(&self, pairs: &[(&str, &str)], like: Range<usize>, out: &mut Vec<u8>) -> bool {
        if self.0.len() != pairs.len() {
            return false;
        }
        let mut at = like.start;
        for &place in &self.0 {
            let (name, value) = pairs[usize::from(place)];
            let value_at = at + LABEL_HEAD_BYTES + name.len();
            let Some(label) = out.get(at..value_at).filter(|_| value_at < like.end) else { return false };
            let next = value_at + usize::from(u16::from_le_bytes([label[1], label[2]]));
            let is_same_name =
                usize::from(label[0]) == name.len() && label[LABEL_HEAD_BYTES..] == *name.as_bytes();
            let fits = value.len() <= LABEL_VALUE_BYTES_MAX;
            if !is_same_name || !fits || (name == METRIC_NAME && !is_name(value, true)) {
                return false;
            }
            write_label(name, value, out);
            at = next;
        }
        at == like.end
    }

    /// Brings the places of `pairs` into the order of their names, and checks all of them.
    fn sort(&mut self, pairs: &[(&str, &str)]) -> Result<(), LabelError> {
        self.0.clear();
        // At most `LABELS_PER_SERIES_MAX` of them.
        self.0.extend((0..).take(pairs.len()));
        self.0.sort_unstable_by_key(|place| pairs[usize::from(*place)].0);
        let mut before = None;
        for &place in &self.0 {
            let (name, value) = pairs[usize::from(place)];
            check_label(name, value)?;
            if before == Some(name) {
                return Err(LabelError::Twice(name.to_owned()));
            }
            before = Some(name);
        }
        Ok(())
    }
}

/// Appends the canonical labels that stand at `of` in `out` again, under another metric name. On error `out` is untouched.
pub(crate) fn write_renamed(
    of: Range<usize>,
    metric_name: &str,
    out: &mut Vec<u8>,
) -> Result<(), LabelError> {
    // The labels before the metric name end at `until`, those behind it begin at `from`.
    let (mut at, mut count, mut until, mut from) = (of.start, 0, of.start, of.start);
    while let Some((name, next)) = name_at(&out[..of.end], at) {
        if name < METRIC_NAME.as_bytes() {
            (until, from) = (next, next);
        } else if name == METRIC_NAME.as_bytes() {
            from = next;
        }
        (at, count) = (next, count + usize::from(name != METRIC_NAME.as_bytes()));
    }
    if !metric_name.is_empty() {
        check_label(METRIC_NAME, metric_name)?;
        if count == LABELS_PER_SERIES_MAX {
            return Err(LabelError::TooMany(count + 1));
        }
    }
    out.extend_from_within(of.start..until);
    if !metric_name.is_empty() {
        write_label(METRIC_NAME, metric_name, out);
    }
    out.extend_from_within(from..of.end);
    Ok(())
}

/// `check_label` has bounded both lengths, so the narrowing below loses nothing.
#[allow(clippy::cast_possible_truncation)]
fn write_label(name: &str, value: &str, out: &mut Vec<u8>) {
    let [low, high] = (value.len() as u16).to_le_bytes();
    out.extend_from_slice(&[name.len() as u8, low, high]);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(value.as_bytes());
}

/// The label that begins at `at`, and where the next one does.
fn label_at(bytes: &[u8], at: usize) -> Option<(&str, &str, usize)> {
    let head = bytes.get(at..at + LABEL_HEAD_BYTES)?;
    let name_at = at + LABEL_HEAD_BYTES;
    let value_at = name_at + usize::from(head[0]);
    let next = value_at + usize::from(u16::from_le_bytes([head[1], head[2]]));
    let name = std::str::from_utf8(bytes.get(name_at..value_at)?).ok()?;
    let value = std::str::from_utf8(bytes.get(value_at..next)?).ok()?;
    Some((name, value, next))
}

/// The name of the label that begins at `at`, and where the next label does: for bytes that are known to be canonical.
fn name_at(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let head = bytes.get(at..at + LABEL_HEAD_BYTES)?;
    let name_at = at + LABEL_HEAD_BYTES;
    let value_at = name_at + usize::from(head[0]);
    let next = value_at + usize::from(u16::from_le_bytes([head[1], head[2]]));
    Some((bytes.get(name_at..value_at)?, next))
}

fn check_label(name: &str, value: &str) -> Result<(), LabelError> {
    if name.len() > LABEL_NAME_BYTES_MAX {
        return Err(LabelError::NameTooLong(name.chars().take(32).collect(), name.len()));
    }
    if !is_name(name, false) {
        return Err(LabelError::BadName(name.to_owned()));
    }
    if value.len() > LABEL_VALUE_BYTES_MAX {
        return Err(LabelError::ValueTooLong(name.to_owned(), value.len()));
    }
    if name == METRIC_NAME && !is_name(value, true) {
        return Err(LabelError::BadMetricName(value.chars().take(64).collect()));
    }
    Ok(())
}

fn is_name(name: &str, colon: bool) -> bool {
    let belongs = |b: u8| NAME_BYTES[usize::from(b)] || (colon && b == b':');
    name.bytes().all(belongs) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

/// What a label name may hold, its first byte aside: one look-up a byte, since each name of each sample passes here.
const NAME_BYTES: [bool; 256] = {
    let mut is_in_names = [false; 256];
    let mut byte = 0_u8;
    while byte < 0x80 {
        is_in_names[byte as usize] = byte.is_ascii_alphanumeric() || byte == b'_';
        byte += 1;
    }
    is_in_names
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn order_and_empty_values_do_not_matter() {
        let one = Labels::new([("__name__", "cpu"), ("host", "a"), ("core", "0")]).unwrap();
        let two = Labels::new([("core", "0"), ("gone", ""), ("host", "a"), ("__name__", "cpu")]).unwrap();
        assert_eq!(one, two);
        assert_eq!(one.to_string(), r#"cpu{core="0",host="a"}"#);
        assert_eq!(one.view().get("core"), "0");
        assert_eq!(one.view().get("gone"), "");
        assert_eq!(one.without(&["__name__", "host"]).to_string(), r#"{core="0"}"#);
    }

    #[test]
    fn the_order_is_that_of_a_dictionary() {
        let of = |pairs: &[(&str, &str)]| Labels::new(pairs.iter().copied()).unwrap();
        let mut all =
            [of(&[("b", "1")]), of(&[("a", "10")]), of(&[("long_name", "0")]), of(&[("a", "9")]), of(&[])];
        all.sort();
        let written: Vec<_> = all.iter().map(ToString::to_string).collect();
        assert_eq!(written, ["", r#"{a="10"}"#, r#"{a="9"}"#, r#"{b="1"}"#, r#"{long_name="0"}"#]);
    }

    #[test]
    fn each_refusal_names_its_label() {
        let refused = |pairs: &[(&str, &str)]| Labels::new(pairs.iter().copied()).unwrap_err().to_string();
        assert!(refused(&[("__name__", "9lives")]).contains("9lives"));
        assert!(refused(&[("a-b", "x")]).contains("a-b"));
        assert!(refused(&[("", "x")]).contains("label name"));
        assert!(refused(&[("a", "1"), ("a", "2")]).contains("twice"));
        assert!(refused(&[("a", &"x".repeat(5000))]).contains("5000 bytes"));
        assert!(refused(&[(&"a".repeat(256), "x")]).contains("256 bytes"));
        let many: Vec<_> = (0..65).map(|i| format!("l{i}")).collect();
        assert!(
            Labels::new(many.iter().map(|n| (n.as_str(), "v")))
                .unwrap_err()
                .to_string()
                .contains("65 or more labels")
        );
    }

    proptest! {
        #[test]
        fn canonical_bytes_come_back(map in proptest::collection::btree_map("[a-z_][a-z0-9_]{0,8}", "\\PC{1,12}", 0..10)) {
            let labels = Labels::new(map.iter().map(|(n, v)| (n.as_str(), v.as_str()))).unwrap();
            let view = LabelsView::parse(labels.view().as_bytes()).unwrap();
            let back: BTreeMap<String, String> = view.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            prop_assert_eq!(back, map);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(view) = LabelsView::parse(&bytes) {
                let again = Labels::new(view.iter()).unwrap();
                prop_assert_eq!(again.view().as_bytes(), &bytes[..]);
            }
        }
    }
}
