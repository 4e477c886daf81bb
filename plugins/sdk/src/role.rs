//! The three roles that a plugin can have.

use crate::{Message, Outbound, Prediction, Refusal, Settings, Tensor, TensorType, Transformed};

/// Turns a message into the tensor that the model takes.
pub trait Preprocessor: Sized + 'static {
    /// The plugin's `settings` table in `plugins.toml`: a struct that [`settings!`](crate::settings) declares, or
    /// [`NoSettings`](crate::NoSettings).
    type Settings: Settings;

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
    type Settings: Settings;

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

/// Turns a message into another one: before the preprocessor, or applied to each result after the router.
pub trait Transformer: Sized + 'static {
    /// As [`Preprocessor::Settings`].
    type Settings: Settings;

    /// As [`Preprocessor::new`].
    ///
    /// # Errors
    ///
    /// As [`Preprocessor::new`].
    fn new(settings: Self::Settings) -> Result<Self, String>;

    /// Called once for each attempt at a message, or for each result of one; then body, content type and headers are
    /// those of the result, and [`Message::key`] is the name of the destination that it goes to.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] decides about the message; after the router, [`Refusal::Skip`] leaves out the one result.
    fn transform(&mut self, message: &Message) -> Result<Transformed, Refusal>;
}

/// Exports a [`Preprocessor`] to the host. Once in a crate, at its root.
#[macro_export]
macro_rules! export_preprocessor {
    ($plugin:ty) => {
        $crate::__export!($plugin, $crate::Preprocessor, preprocess {
            fn preprocess(message: &types::Message, wants: types::TensorType) -> Result<types::Tensor, types::Refusal> {
                INSTANCE.with(|instance| instance.preprocess(message, wants))
            }
        });
    };
}

/// Exports a [`Router`] to the host. Once in a crate, at its root.
#[macro_export]
macro_rules! export_router {
    ($plugin:ty) => {
        $crate::__export!($plugin, $crate::Router, route {
            fn route(
                message: &types::Message,
                prediction: &types::Prediction,
            ) -> Result<::std::vec::Vec<route::Outbound>, types::Refusal> {
                INSTANCE.with(|instance| instance.route(message, prediction))
            }
        });
    };
}

/// Exports a [`Transformer`] to the host. Once in a crate, at its root.
#[macro_export]
macro_rules! export_transformer {
    ($plugin:ty) => {
        $crate::__export!($plugin, $crate::Transformer, transform {
            fn transform(message: &types::Message) -> Result<transform::Transformed, types::Refusal> {
                INSTANCE.with(|instance| instance.transform(message))
            }
        });
    };
}

/// What the three have in common: an instance, its settings, and the one function of its role.
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($plugin:ty, $role:path, $interface:ident { $function:item }) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            use ::core::result::Result;
            use $crate::bindings::$interface::exports::millrace::pipeline::$interface;
            use $crate::bindings::plugin::exports::millrace::pipeline::plugin;
            use $crate::bindings::plugin::millrace::pipeline::types;

            ::std::thread_local! {
                static INSTANCE: $crate::export::Instance<$plugin> = const { $crate::export::Instance::empty() };
            }

            struct Guest;

            impl plugin::Guest for Guest {
                fn settings() -> ::std::vec::Vec<plugin::Setting> {
                    $crate::export::declared::<<$plugin as $role>::Settings>()
                }

                fn configure(settings: ::std::string::String) -> Result<(), ::std::string::String> {
                    INSTANCE.with(|instance| instance.configure(&settings, <$plugin as $role>::new))
                }
            }

            impl $interface::Guest for Guest {
                $function
            }

            $crate::bindings::plugin::export!(Guest with_types_in $crate::bindings::plugin);
            $crate::bindings::$interface::export!(Guest with_types_in $crate::bindings::$interface);
        };
    };
}
