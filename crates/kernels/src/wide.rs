//! Sixteen lanes at a time, whatever the processor: one register with AVX-512,
//! two with AVX2, an array elsewhere. Every operation rounds the same in all
//! of them (and without a fused multiply-add, rounds twice where it says so).

/// Lanes of a vector, and of a sum: fixed, so that sums are the same on every
/// processor.
pub(crate) const LANES: usize = 16;

/// How vectors of sixteen numbers are worked on.
pub(crate) trait Wide: Copy {
    /// Sixteen numbers.
    type Vector: Copy;
    /// All lanes the same.
    fn splat(self, value: f32) -> Self::Vector;
    /// From memory.
    fn load(self, from: &[f32; LANES]) -> Self::Vector;
    /// To memory.
    fn store(self, value: Self::Vector, to: &mut [f32; LANES]);
    /// `a + b`.
    fn plus(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a - b`.
    fn minus(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a * b`.
    fn times(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a / b`.
    fn over(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a * b + c`, rounded once where the processor can.
    fn fused(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// The square root.
    fn root(self, a: Self::Vector) -> Self::Vector;
    /// The larger; `b` where one is not a number.
    fn larger(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The smaller; `b` where one is not a number.
    fn smaller(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Without its sign.
    fn magnitude(self, a: Self::Vector) -> Self::Vector;
    /// `a`, which is not negative, with the sign of `b`.
    fn signed(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
}

/// Plain arrays; `FUSED` says whether a multiply-add rounds once.
#[derive(Clone, Copy)]
pub(crate) struct Portable<const FUSED: bool>;

#[inline(always)]
fn lanes(of: impl Fn(usize) -> f32) -> [f32; LANES] {
    std::array::from_fn(of)
}

impl<const FUSED: bool> Wide for Portable<FUSED> {
    type Vector = [f32; LANES];

    #[inline(always)]
    fn splat(self, value: f32) -> Self::Vector {
        [value; LANES]
    }
    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::Vector {
        *from
    }
    #[inline(always)]
    fn store(self, value: Self::Vector, to: &mut [f32; LANES]) {
        *to = value;
    }
    #[inline(always)]
    fn plus(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        lanes(|at| a[at] + b[at])
    }
    #[inline(always)]
    fn minus(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        lanes(|at| a[at] - b[at])
    }
    #[inline(always)]
    fn times(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        lanes(|at| a[at] * b[at])
    }
    #[inline(always)]
    fn over(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        lanes(|at| a[at] / b[at])
    }
    #[inline(always)]
    fn fused(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
        lanes(|at| if FUSED { a[at].mul_add(b[at], c[at]) } else { a[at] * b[at] + c[at] })
    }
    #[inline(always)]
    fn root(self, a: Self::Vector) -> Self::Vector {
        lanes(|at| a[at].sqrt())
    }
    #[inline(always)]
    fn larger(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        lanes(|at| if a[at] > b[at] { a[at] } else { b[at] })
    }
    #[inline(always)]
    fn smaller(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        lanes(|at| if a[at] < b[at] { a[at] } else { b[at] })
    }
    #[inline(always)]
    fn magnitude(self, a: Self::Vector) -> Self::Vector {
        lanes(|at| a[at].abs())
    }
    #[inline(always)]
    fn signed(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        lanes(|at| f32::from_bits(a[at].to_bits() | (b[at].to_bits() & 0x8000_0000)))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{LANES, Wide};
    use pulp::bytemuck::cast;
    use pulp::x86::{V3, V4};
    use pulp::{Simd, f32x8, f32x16};

    impl Wide for V4 {
        type Vector = f32x16;

        #[inline(always)]
        fn splat(self, value: f32) -> f32x16 {
            self.splat_f32s(value)
        }
        #[inline(always)]
        fn load(self, from: &[f32; LANES]) -> f32x16 {
            cast(*from)
        }
        #[inline(always)]
        fn store(self, value: f32x16, to: &mut [f32; LANES]) {
            *to = cast(value);
        }
        #[inline(always)]
        fn plus(self, a: f32x16, b: f32x16) -> f32x16 {
            self.add_f32s(a, b)
        }
        #[inline(always)]
        fn minus(self, a: f32x16, b: f32x16) -> f32x16 {
            self.sub_f32s(a, b)
        }
        #[inline(always)]
        fn times(self, a: f32x16, b: f32x16) -> f32x16 {
            self.mul_f32s(a, b)
        }
        #[inline(always)]
        fn over(self, a: f32x16, b: f32x16) -> f32x16 {
            self.div_f32s(a, b)
        }
        #[inline(always)]
        fn fused(self, a: f32x16, b: f32x16, c: f32x16) -> f32x16 {
            self.mul_add_f32s(a, b, c)
        }
        #[inline(always)]
        fn root(self, a: f32x16) -> f32x16 {
            self.sqrt_f32s(a)
        }
        #[inline(always)]
        fn larger(self, a: f32x16, b: f32x16) -> f32x16 {
            self.max_f32s(a, b)
        }
        #[inline(always)]
        fn smaller(self, a: f32x16, b: f32x16) -> f32x16 {
            self.min_f32s(a, b)
        }
        #[inline(always)]
        fn magnitude(self, a: f32x16) -> f32x16 {
            self.abs_f32s(a)
        }
        #[inline(always)]
        fn signed(self, a: f32x16, b: f32x16) -> f32x16 {
            self.or_f32s(a, self.and_f32s(b, self.splat_f32s(-0.0)))
        }
    }

    type Pair = (f32x8, f32x8);

    impl Wide for V3 {
        type Vector = Pair;

        #[inline(always)]
        fn splat(self, value: f32) -> Pair {
            (self.splat_f32s(value), self.splat_f32s(value))
        }
        #[inline(always)]
        fn load(self, from: &[f32; LANES]) -> Pair {
            let halves: [[f32; 8]; 2] = cast(*from);
            (cast(halves[0]), cast(halves[1]))
        }
        #[inline(always)]
        fn store(self, value: Pair, to: &mut [f32; LANES]) {
            let halves: [[f32; 8]; 2] = [cast(value.0), cast(value.1)];
            *to = cast(halves);
        }
        #[inline(always)]
        fn plus(self, a: Pair, b: Pair) -> Pair {
            (self.add_f32s(a.0, b.0), self.add_f32s(a.1, b.1))
        }
        #[inline(always)]
        fn minus(self, a: Pair, b: Pair) -> Pair {
            (self.sub_f32s(a.0, b.0), self.sub_f32s(a.1, b.1))
        }
        #[inline(always)]
        fn times(self, a: Pair, b: Pair) -> Pair {
            (self.mul_f32s(a.0, b.0), self.mul_f32s(a.1, b.1))
        }
        #[inline(always)]
        fn over(self, a: Pair, b: Pair) -> Pair {
            (self.div_f32s(a.0, b.0), self.div_f32s(a.1, b.1))
        }
        #[inline(always)]
        fn fused(self, a: Pair, b: Pair, c: Pair) -> Pair {
            (self.mul_add_f32s(a.0, b.0, c.0), self.mul_add_f32s(a.1, b.1, c.1))
        }
        #[inline(always)]
        fn root(self, a: Pair) -> Pair {
            (self.sqrt_f32s(a.0), self.sqrt_f32s(a.1))
        }
        #[inline(always)]
        fn larger(self, a: Pair, b: Pair) -> Pair {
            (self.max_f32s(a.0, b.0), self.max_f32s(a.1, b.1))
        }
        #[inline(always)]
        fn smaller(self, a: Pair, b: Pair) -> Pair {
            (self.min_f32s(a.0, b.0), self.min_f32s(a.1, b.1))
        }
        #[inline(always)]
        fn magnitude(self, a: Pair) -> Pair {
            (self.abs_f32s(a.0), self.abs_f32s(a.1))
        }
        #[inline(always)]
        fn signed(self, a: Pair, b: Pair) -> Pair {
            let sign = self.splat_f32s(-0.0);
            (self.or_f32s(a.0, self.and_f32s(b.0, sign)), self.or_f32s(a.1, self.and_f32s(b.1, sign)))
        }
    }
}

/// What a processor's token runs with its features enabled. Called as `FnMut`:
/// the adapter to `FnOnce` would not be inlined, and nothing in it.
#[cfg(target_arch = "x86_64")]
pub(crate) struct Call<F>(pub(crate) F);

#[cfg(target_arch = "x86_64")]
impl<R, F: FnMut() -> R> pulp::NullaryFnOnce for Call<F> {
    type Output = R;

    #[inline(always)]
    fn call(mut self) -> R {
        (self.0)()
    }
}

/// Runs `$name(token, arguments)` with the widest vectors of the processor.
macro_rules! dispatch {
    ($name:ident ( $($argument:expr),* $(,)? )) => {{
        #[cfg(target_arch = "x86_64")]
        {
            use $crate::wide::Call;
            if let Some(simd) = pulp::x86::V4::try_new() {
                return simd.vectorize(Call(#[inline(always)] || $name(simd, $($argument),*)));
            }
            if let Some(simd) = pulp::x86::V3::try_new() {
                return simd.vectorize(Call(#[inline(always)] || $name(simd, $($argument),*)));
            }
            $name($crate::wide::Portable::<false>, $($argument),*)
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            $name($crate::wide::Portable::<{ cfg!(target_arch = "aarch64") }>, $($argument),*)
        }
    }};
}
pub(crate) use dispatch;
