//! `refrain sandbox` and `refrain model fetch`.
