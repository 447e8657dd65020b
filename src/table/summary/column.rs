//! One column in both passes: its values in one of a few forms, and what is
//! kept of them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StringArray, UInt64Array};
use arrow::compute::{cast, max, min};
use arrow::datatypes::{DataType, Float64Type, Int32Type, UInt64Type};
use arrow::error::ArrowError;

use super::sketch::{DistinctSketch, FrequentSketch, hash_of_bits, hash_of_float, hash_of_text, surely_found};

/// Bars of a histogram.
const BARS: usize = 16;

/// How the numbers of a column are spread.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// The smallest finite number.
    pub from: f64,
    /// The largest finite number.
    pub to: f64,
    /// How many numbers fall into each of 16 equal parts between the two; the
    /// largest number counts in the last part.
    pub counts: Vec<u64>,
}

/// A column's values in one of a few forms.
pub(super) enum Values {
    /// Whole numbers, and moments as such.
    Whole(Int64Array),
    /// Whole numbers that may be too large for the others.
    Large(UInt64Array),
    /// Numbers; those that are none are nulls here, and counted.
    Float(Float64Array, u64),
    /// Different texts, and how often each stands there; some not at all.
    Texts(StringArray, Vec<u64>),
    /// The lengths of lists.
    Lengths(Int64Array),
    /// Of these, only nulls are counted.
    Other,
}

impl Values {
    pub(super) fn of(array: &ArrayRef, data_type: &DataType) -> Result<Self, ArrowError> {
        use DataType as T;
        let whole = |array: &ArrayRef| Ok::<_, ArrowError>(cast(array, &T::Int64)?.as_primitive().clone());
        Ok(match data_type {
            T::UInt64 => Self::Large(array.as_primitive::<UInt64Type>().clone()),
            T::Date32 | T::Time32(_) => Self::Whole(whole(&cast(array, &T::Int32)?)?),
            T::Date64 | T::Time64(_) | T::Timestamp(..) | T::Duration(_) => Self::Whole(whole(array)?),
            T::Float16 | T::Float32 | T::Float64 => {
                let floats = cast(array, &T::Float64)?;
                let numbers: Float64Array = floats
                    .as_primitive::<Float64Type>()
                    .iter()
                    .map(|value: Option<f64>| value.filter(|v| !v.is_nan()))
                    .collect();
                let nans = (numbers.null_count() - floats.null_count()) as u64;
                Self::Float(numbers, nans)
            }
            T::Utf8 => texts(array)?,
            T::Boolean => {
                let flags = array.as_boolean();
                let times = vec![flags.false_count() as u64, flags.true_count() as u64];
                Self::Texts(StringArray::from(vec!["false", "true"]), times)
            }
            T::List(_) => {
                let lists = cast(array, data_type)?;
                let length = |list: Option<ArrayRef>| list.map(|list| list.len() as i64);
                Self::Lengths(lists.as_list::<i32>().iter().map(length).collect())
            }
            other if other.is_integer() => Self::Whole(whole(array)?),
            _ => Self::Other,
        })
    }

    /// The numbers as 64-bit floats.
    fn floats(&self) -> Option<Float64Array> {
        let float = |array: &dyn Array| Some(cast(array, &DataType::Float64).ok()?.as_primitive().clone());
        match self {
            Self::Whole(array) | Self::Lengths(array) => float(array),
            Self::Large(array) => float(array),
            Self::Float(array, _) => Some(array.clone()),
            Self::Texts(..) | Self::Other => None,
        }
    }
}

fn texts(array: &ArrayRef) -> Result<Values, ArrowError> {
    let to = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let encoded = cast(array, &to)?;
    let encoded = encoded.as_dictionary::<Int32Type>();
    let mut times = vec![0; encoded.values().len()];
    for key in encoded.keys().iter().flatten() {
        times[key as usize] += 1;
    }
    Ok(Values::Texts(encoded.values().as_string().clone(), times))
}

/// The texts that stand there.
fn counted<'a>(texts: &'a StringArray, times: &'a [u64]) -> impl Iterator<Item = (&'a str, u64)> + Clone {
    let texts = texts.iter().zip(times).filter(|(_, times)| **times > 0);
    texts.filter_map(|(text, times)| Some((text?, *times)))
}

/// A hash of each value of a column, the same for equal values and for all
/// nulls; none if the type is nested or has no values that can be told apart.
pub(in crate::table) fn hashes(array: &ArrayRef) -> Option<Vec<u64>> {
    const NULL: u64 = 0x6e75_6c6c;
    const NAN: u64 = 0x006e_616e;
    let of = |hash: Option<u64>| hash.unwrap_or(NULL);
    if *array.data_type() == DataType::Boolean {
        return Some(
            array.as_boolean().iter().map(|flag| of(flag.map(|flag| hash_of_bits(u64::from(flag))))).collect(),
        );
    }
    if *array.data_type() == DataType::Utf8 {
        return Some(array.as_string::<i32>().iter().map(|text| of(text.map(hash_of_text))).collect());
    }
    Some(match Values::of(array, array.data_type()).ok()? {
        Values::Whole(values) => values.iter().map(|value| of(value.map(|value| hash_of_bits(value as u64)))).collect(),
        Values::Large(values) => values.iter().map(|value| of(value.map(hash_of_bits))).collect(),
        Values::Float(values, _) => {
            let hash = |(row, value): (usize, Option<f64>)| match value {
                Some(value) => hash_of_float(value),
                None if array.is_null(row) => NULL,
                None => NAN,
            };
            values.iter().enumerate().map(hash).collect()
        }
        Values::Texts(..) | Values::Lengths(_) | Values::Other => return None,
    })
}

/// What is kept of a column in the first pass.
pub(super) struct First {
    pub(super) nulls: u64,
    pub(super) nans: u64,
    /// Rows with a value that is not NaN.
    pub(super) values: u64,
    pub(super) distinct: Option<DistinctSketch>,
    pub(super) frequent: Option<FrequentSketch>,
    whole: Option<[i128; 2]>,
    float: Option<[f64; 2]>,
    text: Option<[String; 2]>,
    /// The ends of the finite numbers.
    finite: Option<[f64; 2]>,
    /// The sum of each batch: they are added up in their order, whoever read them.
    sums: Vec<f64>,
}

impl First {
    pub(super) fn new(data_type: &DataType) -> Self {
        let text = matches!(data_type, DataType::Utf8 | DataType::Boolean);
        let plain = text || data_type.is_numeric() || data_type.is_temporal();
        Self {
            nulls: 0,
            nans: 0,
            values: 0,
            distinct: plain.then(DistinctSketch::new),
            frequent: text.then(FrequentSketch::new),
            whole: None,
            float: None,
            text: None,
            finite: None,
            sums: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, array: &ArrayRef, values: &Values) {
        let nulls = array.logical_null_count() as u64;
        self.nulls += nulls;
        self.values += array.len() as u64 - nulls;
        match values {
            Values::Whole(array) | Values::Lengths(array) => {
                self.whole = ends(self.whole, min(array).map(i128::from), max(array).map(i128::from));
                self.hash(array.iter().flatten().map(|value| hash_of_bits(value as u64)));
            }
            Values::Large(array) => {
                self.whole = ends(self.whole, min(array).map(i128::from), max(array).map(i128::from));
                self.hash(array.iter().flatten().map(hash_of_bits));
            }
            Values::Float(array, nans) => {
                self.nans += nans;
                self.values -= nans;
                self.float = ends(self.float, min(array), max(array));
                self.hash(array.iter().flatten().map(hash_of_float));
            }
            Values::Texts(texts, times) => self.add_texts(texts, times),
            Values::Other => {}
        }
        if let Some(floats) = values.floats() {
            self.sums.push(floats.iter().flatten().sum());
            let finite = floats.iter().flatten().filter(|value| value.is_finite());
            let widened = |[least, most]: [f64; 2], value: f64| [least.min(value), most.max(value)];
            let [least, most] = finite.fold([f64::INFINITY, f64::NEG_INFINITY], widened);
            self.finite = joined(self.finite, (least <= most).then_some([least, most]));
        }
    }

    fn hash(&mut self, hashes: impl Iterator<Item = u64>) {
        if let Some(distinct) = &mut self.distinct {
            hashes.for_each(|hash| distinct.add(hash));
        }
    }

    fn add_texts(&mut self, texts: &StringArray, times: &[u64]) {
        let values = counted(texts, times);
        if let Some(frequent) = &mut self.frequent {
            frequent.add(values.clone());
        }
        self.hash(values.clone().map(|(text, _)| hash_of_text(text)));
        let own = self.text.take();
        let all = || own.iter().flatten().map(String::as_str).chain(values.clone().map(|(text, _)| text));
        self.text = all().min().zip(all().max()).map(|(least, most)| [least.to_owned(), most.to_owned()]);
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.nulls += other.nulls;
        self.nans += other.nans;
        self.values += other.values;
        self.sums.extend(other.sums);
        self.whole = joined(self.whole, other.whole);
        self.float = joined(self.float, other.float);
        self.finite = joined(self.finite, other.finite);
        if let Some([least, most]) = other.text {
            let [own_least, own_most] = self.text.take().unwrap_or_else(|| [least.clone(), most.clone()]);
            self.text = Some([own_least.min(least), own_most.max(most)]);
        }
        if let (Some(own), Some(others)) = (&mut self.distinct, other.distinct) {
            own.merge(others);
        }
        if let (Some(own), Some(others)) = (&mut self.frequent, other.frequent) {
            own.merge(others);
        }
    }

    /// The smallest and the largest value.
    pub(super) fn range(&self, data_type: &DataType) -> Option<[ArrayRef; 2]> {
        let typed = |array: ArrayRef| {
            // Days and times of day are numbers of 32 bits.
            let narrow = matches!(data_type, DataType::Date32 | DataType::Time32(_));
            let array = if narrow { cast(&array, &DataType::Int32).ok()? } else { array };
            if data_type.is_nested() { Some(array) } else { cast(&array, data_type).ok() }
        };
        let whole = |number: i128| -> Option<ArrayRef> {
            match i64::try_from(number) {
                Ok(number) => typed(Arc::new(Int64Array::from(vec![number]))),
                Err(_) => Some(Arc::new(UInt64Array::from(vec![u64::try_from(number).ok()?]))),
            }
        };
        if let Some([least, most]) = self.whole {
            return Some([whole(least)?, whole(most)?]);
        }
        if let Some([least, most]) = self.float {
            let float = |number: f64| typed(Arc::new(Float64Array::from(vec![number])));
            return Some([float(least)?, float(most)?]);
        }
        let text = |text: &String| -> ArrayRef { Arc::new(StringArray::from(vec![text.as_str()])) };
        self.text.as_ref().filter(|_| *data_type == DataType::Utf8).map(|[least, most]| [text(least), text(most)])
    }

    /// The mean of numbers, and of the lengths of lists.
    pub(super) fn mean(&self, data_type: &DataType) -> Option<f64> {
        let has_mean = data_type.is_numeric() || matches!(data_type, DataType::List(_));
        (has_mean && self.values > 0).then(|| self.sums.iter().sum::<f64>() / self.values as f64)
    }
}

/// The ends of a range that is to hold two more values.
fn ends<T: PartialOrd + Copy>(known: Option<[T; 2]>, least: Option<T>, most: Option<T>) -> Option<[T; 2]> {
    joined(known, Some([least?, most?]).or(known))
}

/// The range that holds both.
fn joined<T: PartialOrd + Copy>(one: Option<[T; 2]>, other: Option<[T; 2]>) -> Option<[T; 2]> {
    let (Some(one), Some(other)) = (one, other) else { return one.or(other) };
    let least = if other[0] < one[0] { other[0] } else { one[0] };
    let most = if other[1] > one[1] { other[1] } else { one[1] };
    Some([least, most])
}

/// What the second pass counts.
#[derive(Clone)]
pub(super) enum Second {
    Nothing,
    Bars(Histogram),
    Texts(HashMap<String, u64>),
}

impl Second {
    /// What is left to be counted after the first pass.
    pub(super) fn after(first: &First, data_type: &DataType) -> Self {
        if let Some(frequent) = &first.frequent {
            let candidates = || frequent.candidates(surely_found(first.values)).map(|value| (value.to_owned(), 0));
            return match frequent.exact() {
                None if candidates().next().is_some() => Self::Texts(candidates().collect()),
                _ => Self::Nothing,
            };
        }
        match first.finite {
            Some([from, to]) if from < to && !data_type.is_nested() => {
                Self::Bars(Histogram { from, to, counts: vec![0; BARS] })
            }
            _ => Self::Nothing,
        }
    }

    pub(super) fn add(&mut self, values: &Values) {
        match self {
            Self::Nothing => {}
            Self::Bars(Histogram { from, to, counts }) => {
                let Some(floats) = values.floats() else { return };
                // Half of each, lest the difference be more than a float can hold.
                let width = (*to / 2.0 - *from / 2.0) / BARS as f64;
                for value in floats.iter().flatten().filter(|value| value.is_finite()) {
                    let bar = ((value / 2.0 - *from / 2.0) / width) as usize;
                    counts[bar.min(BARS - 1)] += 1;
                }
            }
            Self::Texts(counts) => {
                let Values::Texts(texts, times) = values else { return };
                for (text, times) in counted(texts, times) {
                    if let Some(count) = counts.get_mut(text) {
                        *count += times;
                    }
                }
            }
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        match (self, other) {
            (Self::Bars(own), Self::Bars(others)) => {
                own.counts.iter_mut().zip(others.counts).for_each(|(own, other)| *own += other);
            }
            (Self::Texts(own), Self::Texts(others)) => {
                for (value, count) in others {
                    *own.entry(value).or_default() += count;
                }
            }
            _ => {}
        }
    }
}
