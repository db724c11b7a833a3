//! What is true after any sequence of commands, a file for each.

mod books_add_up;
mod each_id_is_given_once;
mod the_model_decides_alike;
