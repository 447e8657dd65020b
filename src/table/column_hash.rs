//! A hash per column, over its type, its nulls and its values in row order, and
//! over nothing else: not the chunks, the encoding, the offsets' width or what
//! lies in the buffers under a null.
//!
//! Each node of a column (itself, a list's values, a struct's fields) keeps
//! separate streams, for the positions of its nulls, its lengths and its bytes.
//! So runs of values are hashed as whole buffers, and cutting a column in other
//! places feeds the same bytes to each stream.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, GenericListArray, OffsetSizeTrait, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowNativeType, ByteArrayType, DataType, Float16Type, Float32Type, Float64Type, SchemaRef, ToByteSlice,
};
use arrow::downcast_primitive_array;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::keyed::Keyed;
use super::normal::{normal_type, type_name};
use super::parquet::FEW_ROWS;
use super::{Table, TableError};
use crate::ground::{ContentHash, Hasher};

/// One column of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnFacts {
    /// Its name.
    pub name: String,
    /// Its type, as [`type_name`] writes it: `str`, `i64`, `list<f32>`.
    pub data_type: String,
    /// The hash of its type, nulls and values in row order.
    pub hash: ContentHash,
}

/// Hashes the columns of a table that arrives in pieces.
#[derive(Debug)]
pub struct TableHasher {
    schema: SchemaRef,
    columns: Vec<Node>,
    rows: u64,
}

impl TableHasher {
    /// A hasher for tables of these columns.
    ///
    /// # Errors
    /// [`TableError::WrongType`] for a type that cannot be hashed: maps, unions
    /// and the like.
    pub fn new(schema: &SchemaRef) -> Result<Self, TableError> {
        let node = |field: &std::sync::Arc<arrow::datatypes::Field>| {
            Node::new(field.data_type()).ok_or_else(|| TableError::WrongType {
                column: field.name().clone(),
                actual: field.data_type().to_string(),
                expected: "a type that artifacts can hold",
            })
        };
        let columns = schema.fields().iter().map(node).collect::<Result<_, _>>()?;
        Ok(Self { schema: SchemaRef::clone(schema), columns, rows: 0 })
    }

    /// Adds the rows of a table with the same columns.
    ///
    /// # Errors
    /// [`TableError::OtherColumns`] if the names or types differ.
    pub fn update(&mut self, table: &Table) -> Result<(), TableError> {
        let names = |schema: &SchemaRef| -> Vec<(String, String)> {
            schema.fields().iter().map(|f| (f.name().clone(), type_name(f.data_type()))).collect()
        };
        let (first, other) = (names(&self.schema), names(table.schema()));
        if first != other {
            let text = |columns: &[(String, String)]| {
                columns.iter().map(|(name, of)| format!("{name}: {of}")).collect::<Vec<_>>().join(", ")
            };
            return Err(TableError::OtherColumns { first: text(&first), other: text(&other) });
        }
        let update =
            |(at, node): (usize, &mut Node)| table.batches().iter().try_for_each(|batch| node.update(batch.column(at)));
        self.rows += table.rows() as u64;
        if table.rows() < FEW_ROWS {
            return self.columns.iter_mut().enumerate().try_for_each(update);
        }
        self.columns.par_iter_mut().enumerate().try_for_each(update)
    }

    /// How many rows were added.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The facts of each column, in order.
    #[must_use]
    pub fn finish(&self) -> Vec<ColumnFacts> {
        let facts = |(field, node): (&std::sync::Arc<arrow::datatypes::Field>, &Node)| ColumnFacts {
            name: field.name().clone(),
            data_type: type_name(field.data_type()),
            hash: node.finish(),
        };
        self.schema.fields().iter().zip(&self.columns).map(facts).collect()
    }
}

/// The hash of each column of a whole table.
///
/// # Errors
/// [`TableError::WrongType`] for a type that cannot be hashed.
pub fn column_hashes(table: &Table) -> Result<BTreeMap<String, ContentHash>, TableError> {
    let mut hasher = TableHasher::new(table.schema())?;
    hasher.update(table)?;
    Ok(hasher.finish().into_iter().map(|facts| (facts.name, facts.hash)).collect())
}

/// The state of a column, of a list's values or of a struct's field.
#[derive(Debug)]
struct Node {
    type_name: String,
    rows: u64,
    nulls: Stream,
    lengths: Stream,
    values: Stream,
    children: Vec<Self>,
}

/// One incremental BLAKE3 state.
#[derive(Default)]
struct Stream(Hasher);

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stream")
    }
}

impl Node {
    fn new(data_type: &DataType) -> Option<Self> {
        let children = match normal_type(data_type) {
            DataType::List(field) => vec![Self::new(field.data_type())?],
            DataType::Struct(fields) => fields.iter().map(|f| Self::new(f.data_type())).collect::<Option<_>>()?,
            plain if plain.is_primitive() => Vec::new(),
            DataType::Null | DataType::Boolean | DataType::Utf8 | DataType::Binary => Vec::new(),
            _ => return None,
        };
        let (nulls, lengths, values) = (Stream::default(), Stream::default(), Stream::default());
        Some(Self { type_name: type_name(data_type), rows: 0, nulls, lengths, values, children })
    }

    fn finish(&self) -> ContentHash {
        let mut hasher = Hasher::new("refrain column v1");
        hasher.field(self.type_name.as_bytes()).field(&self.rows.to_le_bytes());
        for stream in [&self.nulls, &self.lengths, &self.values] {
            hasher.field(stream.0.finish().as_bytes());
        }
        for child in &self.children {
            hasher.field(child.finish().as_bytes());
        }
        hasher.finish()
    }

    fn update(&mut self, array: &ArrayRef) -> Result<(), TableError> {
        if let Some(keyed) = Keyed::of(array) {
            keyed.pieces(|lengths, texts| {
                self.lengths.0.raw(lengths.to_byte_slice());
                self.values.0.raw(texts);
            });
            self.rows += array.len() as u64;
            return Ok(());
        }
        let array = &hashable(array)?;
        let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        let mut runs = vec![(0, array.len())];
        if let Some(nulls) = &nulls {
            let missing = (0..nulls.len()).filter(|row| nulls.is_null(*row));
            let positions: Vec<u64> = missing.map(|row| self.rows + row as u64).collect();
            self.nulls.0.raw(positions.to_byte_slice());
            runs = nulls.valid_slices().collect();
        }
        for (start, end) in runs {
            self.run(&array.slice(start, end - start))?;
        }
        self.rows += array.len() as u64;
        Ok(())
    }

    /// Adds a run of rows of which none is null.
    fn run(&mut self, array: &ArrayRef) -> Result<(), TableError> {
        match array.data_type() {
            DataType::Null => {}
            DataType::Boolean => self.booleans(array.as_boolean()),
            DataType::Utf8 => self.texts::<arrow::datatypes::Utf8Type>(array),
            DataType::LargeUtf8 => self.texts::<arrow::datatypes::LargeUtf8Type>(array),
            DataType::Binary => self.texts::<arrow::datatypes::BinaryType>(array),
            DataType::LargeBinary => self.texts::<arrow::datatypes::LargeBinaryType>(array),
            DataType::List(_) => self.lists(array.as_list::<i32>())?,
            DataType::LargeList(_) => self.lists(array.as_list::<i64>())?,
            DataType::Struct(_) => self.structs(array.as_struct())?,
            _ => self.primitives(array),
        }
        Ok(())
    }

    fn booleans(&mut self, array: &BooleanArray) {
        let bytes: Vec<u8> = array.values().iter().map(u8::from).collect();
        self.values.0.raw(&bytes);
    }

    fn texts<T: ByteArrayType>(&mut self, array: &ArrayRef) {
        let array = array.as_bytes::<T>();
        self.offsets(array.value_offsets());
        let (Some(first), Some(last)) = (array.value_offsets().first(), array.value_offsets().last()) else { return };
        let range = first.as_usize()..last.as_usize();
        self.values.0.raw(array.value_data().get(range).unwrap_or_default());
    }

    fn lists<O: OffsetSizeTrait>(&mut self, array: &GenericListArray<O>) -> Result<(), TableError> {
        self.offsets(array.value_offsets());
        let (Some(first), Some(last)) = (array.value_offsets().first(), array.value_offsets().last()) else {
            return Ok(());
        };
        let (first, last) = (first.as_usize(), last.as_usize());
        let values = array.values().slice(first, last - first);
        self.children.iter_mut().try_for_each(|child| child.update(&values))
    }

    fn structs(&mut self, array: &StructArray) -> Result<(), TableError> {
        self.children.iter_mut().zip(array.columns()).try_for_each(|(child, column)| child.update(column))
    }

    fn offsets<O: OffsetSizeTrait>(&mut self, offsets: &[O]) {
        let lengths: Vec<u64> =
            offsets.iter().zip(offsets.iter().skip(1)).map(|(a, b)| (b.as_usize() - a.as_usize()) as u64).collect();
        self.lengths.0.raw(lengths.to_byte_slice());
    }

    fn primitives(&mut self, array: &ArrayRef) {
        match array.data_type() {
            DataType::Float16 => {
                let values = array.as_primitive::<Float16Type>().values();
                self.numbers(values, |v| v.is_nan(), half::f16::NAN);
            }
            DataType::Float32 => {
                self.numbers(array.as_primitive::<Float32Type>().values(), |v| v.is_nan(), f32::NAN);
            }
            DataType::Float64 => {
                self.numbers(array.as_primitive::<Float64Type>().values(), |v| v.is_nan(), f64::NAN);
            }
            _ => {
                downcast_primitive_array!(
                    array => { self.values.0.raw(array.values().to_byte_slice()); }
                    other => unreachable!("{other} was refused when the hasher was made: this is a bug"),
                );
            }
        }
    }

    /// Floats, every NaN in one form: NaNs with other bits are the same value.
    fn numbers<T: ArrowNativeType>(&mut self, values: &[T], is_nan: impl Fn(&T) -> bool, nan: T) {
        if values.iter().any(&is_nan) {
            let same: Vec<T> = values.iter().map(|value| if is_nan(value) { nan } else { *value }).collect();
            self.values.0.raw(same.to_byte_slice());
        } else {
            self.values.0.raw(values.to_byte_slice());
        }
    }
}

/// The array with its values in one buffer, which views, dictionaries and lists
/// of fixed size do not have.
fn hashable(array: &ArrayRef) -> Result<ArrayRef, TableError> {
    let to = match array.data_type() {
        DataType::Utf8View => DataType::LargeUtf8,
        DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::LargeBinary,
        other @ (DataType::Dictionary(_, _)
        | DataType::FixedSizeList(_, _)
        | DataType::ListView(_)
        | DataType::LargeListView(_)) => normal_type(other),
        _ => return Ok(ArrayRef::clone(array)),
    };
    cast(array, &to).map_err(|source| TableError::Arrow { action: "hash", source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        BinaryArray, DictionaryArray, FixedSizeListArray, Float32Array, Float64Array, Int64Array, LargeListArray,
        LargeStringArray, ListArray, StringArray, StringViewArray, StructArray,
    };
    use arrow::buffer::NullBuffer;
    use arrow::datatypes::{Field, Int32Type};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn hash(array: ArrayRef) -> ContentHash {
        let table = Table::of_columns([("c", array)]).unwrap();
        column_hashes(&table).unwrap()["c"]
    }

    /// The hash when the column arrives cut at the given rows.
    fn hash_cut(array: &ArrayRef, cuts: &[usize]) -> ContentHash {
        let none = Table::of_columns([("c", array.slice(0, 0))]).unwrap();
        let mut hasher = TableHasher::new(none.schema()).unwrap();
        let mut at = 0;
        for cut in cuts.iter().map(|cut| cut % (array.len() + 1)).chain([array.len()]) {
            let cut = cut.max(at);
            hasher.update(&Table::of_columns([("c", array.slice(at, cut - at))]).unwrap()).unwrap();
            at = cut;
        }
        hasher.finish()[0].hash
    }

    type Row = Option<Vec<Option<i32>>>;

    fn lists(rows: &[Row]) -> ArrayRef {
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(rows.iter().cloned()))
    }

    fn structs(rows: &[Row]) -> ArrayRef {
        let texts: StringArray = rows.iter().map(|r| r.as_ref().map(|v| format!("{v:?}"))).collect();
        let flags: BooleanArray =
            rows.iter().map(|r| r.as_ref().and_then(|v| v.first().map(Option::is_some))).collect();
        let validity = rows.iter().map(|r| r.as_ref().is_none_or(|v| v.len() != 1)).collect::<NullBuffer>();
        let fields = vec![Field::new("t", DataType::Utf8, true), Field::new("f", DataType::Boolean, true)];
        Arc::new(StructArray::new(fields.into(), vec![Arc::new(texts), Arc::new(flags)], Some(validity)))
    }

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        proptest::collection::vec(proptest::option::of(proptest::collection::vec(any::<Option<i32>>(), 0..4)), 0..20)
    }

    proptest! {
        #[test]
        fn the_hash_does_not_depend_on_where_a_column_is_cut(rows in rows(), mut cuts in proptest::collection::vec(0..20_usize, 0..5)) {
            cuts.sort_unstable();
            for array in [lists(&rows), structs(&rows)] {
                prop_assert_eq!(hash_cut(&array, &cuts), hash(array));
            }
        }

        #[test]
        fn the_hash_differs_exactly_when_the_rows_do(one in rows(), other in rows()) {
            prop_assert_eq!(hash(lists(&one)) == hash(lists(&other)), one == other);
        }

        #[test]
        fn any_one_change_is_seen(mut texts in proptest::collection::vec(any::<Option<String>>(), 2..12), at in 0..12_usize) {
            let of = |texts: &[Option<String>]| hash(Arc::new(texts.iter().cloned().collect::<StringArray>()));
            let before = of(&texts);
            let at = at % (texts.len() - 1);
            if texts[at] != texts[at + 1] {
                texts.swap(at, at + 1);
                prop_assert_ne!(of(&texts), before);
                texts.swap(at, at + 1);
            }
            texts[at] = texts[at].take().map_or(Some(String::new()), |_| None);
            prop_assert_ne!(of(&texts), before);
        }
    }

    #[test]
    fn the_spelling_of_a_type_does_not_matter_and_the_type_does() {
        let values = vec![Some("a"), None, Some(""), Some("a")];
        let plain = hash(Arc::new(StringArray::from(values.clone())));
        assert_eq!(plain, hash(Arc::new(LargeStringArray::from(values.clone()))));
        assert_eq!(plain, hash(Arc::new(StringViewArray::from(values.clone()))));
        assert_eq!(plain, hash(Arc::new(values.iter().copied().collect::<DictionaryArray<Int32Type>>())));
        let bytes: Vec<Option<&[u8]>> = values.iter().map(|v| v.map(str::as_bytes)).collect();
        assert_ne!(plain, hash(Arc::new(BinaryArray::from(bytes))));

        let vectors = || vec![Some(vec![Some(1.0), Some(2.0)]), None, Some(vec![Some(3.0), None])];
        let list = hash(Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(vectors())));
        assert_eq!(list, hash(Arc::new(LargeListArray::from_iter_primitive::<Float32Type, _, _>(vectors()))));
        assert_eq!(list, hash(Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(vectors(), 2))));
        assert_ne!(
            list,
            hash(Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(
                vectors().into_iter().map(|v| v.map(|v| v.into_iter().map(|x| x.map(f64::from)).collect::<Vec<_>>()))
            )))
        );
    }

    #[test]
    fn what_lies_under_a_null_does_not_matter() {
        let nulls = || Some(NullBuffer::from(vec![true, false, true]));
        let one = Int64Array::new(vec![1, 2, 3].into(), nulls());
        let other = Int64Array::new(vec![1, 9, 3].into(), nulls());
        assert_eq!(hash(Arc::new(one)), hash(Arc::new(other)));
    }

    #[test]
    fn every_nan_is_the_same_and_the_zeros_are_not() {
        let nan = f64::from_bits(0x7ff8_0000_0000_0001);
        let of = |value| hash(Arc::new(Float64Array::from(vec![0.5, value])));
        assert_eq!(of(f64::NAN), of(nan));
        assert_ne!(of(0.0), of(-0.0));
        assert_ne!(hash(Arc::new(Float32Array::from(vec![0.5]))), hash(Arc::new(Float64Array::from(vec![0.5]))));
    }

    /// Raise the purpose string in `Node::finish` and `store::FORMAT` together
    /// if this must ever change: it makes every stage of every store stale.
    #[test]
    fn golden() {
        let text = hash(Arc::new(StringArray::from(vec![Some("song"), None])));
        let vector = hash(lists(&[Some(vec![Some(1), None]), None, Some(vec![])]));
        insta::assert_snapshot!(format!("{text}\n{vector}"), @r"
        6b9ba6effda9411537b84a3d4196c4ab115ebaeb63976893dc841ab5c2cbf689
        5046897f334def2149464809f55c59378bf2b73ff50b212d085be89082366534
        ");
    }
}
