//! The contract with plugins: what was released of it stays, what was built against it runs, and no language is special.

mod in_c;
mod old_guest;
mod released;
