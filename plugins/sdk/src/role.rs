//! The two roles that a plugin can have.

use serde::de::DeserializeOwned;

use crate::{Message, Outbound, Prediction, Refusal, Tensor, TensorType};

/// Turns a message into the tensor that the model takes.
pub trait Preprocessor: Sized + 'static {
    /// The plugin's `settings` table in `plugins.toml`. Derive `Deserialize` with
    /// `deny_unknown_fields`, so that a misspelt key is told and not ignored.
    type Settings: DeserializeOwned;

    /// Called once in every new instance, before anything else, and once at load.
    ///
    /// With `isolation = "message"` that is once for each message: keep it cheap.
    ///
    /// # Errors
    ///
    /// A text for the person who wrote the settings; the plugin is then not taken into service.
    fn new(settings: Self::Settings) -> Result<Self, String>;

    /// Called once for each attempt at a message. `wants` is the type of the tensor that the model takes.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] says what becomes of a message that yields no tensor.
    fn preprocess(&mut self, message: &Message, wants: &TensorType) -> Result<Tensor, Refusal>;
}

/// Turns a message and the model's prediction into result messages.
pub trait Router: Sized + 'static {
    /// As [`Preprocessor::Settings`].
    type Settings: DeserializeOwned;

    /// As [`Preprocessor::new`].
    ///
    /// # Errors
    ///
    /// As [`Preprocessor::new`].
    fn new(settings: Self::Settings) -> Result<Self, String>;

    /// Called once for each attempt at a message, after the model. No results means that the
    /// message is acknowledged without one.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] says what becomes of a message that cannot be routed.
    fn route(&mut self, message: &Message, prediction: &Prediction) -> Result<Vec<Outbound>, Refusal>;
}

/// Exports a [`Preprocessor`] to the host. Once in a crate, at its root.
#[macro_export]
macro_rules! export_preprocessor {
    ($plugin:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            use $crate::bindings::plugin::exports::millrace::pipeline::plugin;
            use $crate::bindings::plugin::millrace::pipeline::types;
            use $crate::bindings::preprocess::exports::millrace::pipeline::preprocess;

            ::std::thread_local! {
                static INSTANCE: $crate::export::Instance<$plugin> = const { $crate::export::Instance::empty() };
            }

            struct Guest;

            impl plugin::Guest for Guest {
                fn configure(settings: ::std::string::String) -> ::core::result::Result<(), ::std::string::String> {
                    INSTANCE.with(|instance| instance.configure(&settings, <$plugin as $crate::Preprocessor>::new))
                }
            }

            impl preprocess::Guest for Guest {
                fn preprocess(
                    message: &types::Message,
                    wants: types::TensorType,
                ) -> ::core::result::Result<types::Tensor, types::Refusal> {
                    INSTANCE.with(|instance| instance.preprocess(message, wants))
                }
            }

    $crate::bindings::plugin::export!(Guest with_types_in $crate::bindings::plugin);
    $crate::bindings::preprocess::export!(Guest with_types_in $crate::bindings::preprocess);
        };
    };
}

/// Exports a [`Router`] to the host. Once in a crate, at its root.
#[macro_export]
macro_rules! export_router {
    ($plugin:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            use $crate::bindings::plugin::exports::millrace::pipeline::plugin;
            use $crate::bindings::plugin::millrace::pipeline::types;
            use $crate::bindings::route::exports::millrace::pipeline::route;

            ::std::thread_local! {
                static INSTANCE: $crate::export::Instance<$plugin> = const { $crate::export::Instance::empty() };
            }

            struct Guest;

            impl plugin::Guest for Guest {
                fn configure(settings: ::std::string::String) -> ::core::result::Result<(), ::std::string::String> {
                    INSTANCE.with(|instance| instance.configure(&settings, <$plugin as $crate::Router>::new))
                }
            }

            impl route::Guest for Guest {
                fn route(
                    message: &types::Message,
                    prediction: &types::Prediction,
                ) -> ::core::result::Result<::std::vec::Vec<route::Outbound>, types::Refusal> {
                    INSTANCE.with(|instance| instance.route(message, prediction))
                }
            }

    $crate::bindings::plugin::export!(Guest with_types_in $crate::bindings::plugin);
    $crate::bindings::route::export!(Guest with_types_in $crate::bindings::route);
        };
    };
}
