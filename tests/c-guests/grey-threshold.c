// A preprocessor: the message is raw RGB, the tensor is white where a pixel is bright and black elsewhere.
#include "preprocessor.h"
#include "settings.h"

static long threshold = 128;

// Every string and list that is handed to the host is on the heap: the generated code frees it afterwards.
static void *allocate(size_t count, size_t size) {
  void *memory = calloc(count, size);
  if (memory == NULL)
    abort();
  return memory;
}

void exports_millrace_pipeline_plugin_settings(exports_millrace_pipeline_plugin_list_setting_t *ret) {
  ret->len = 1;
  ret->ptr = allocate(ret->len, sizeof *ret->ptr);
  preprocessor_string_dup(&ret->ptr[0].name, "threshold");
  preprocessor_string_dup(&ret->ptr[0].help, "The grey, 0 to 255, at which a pixel begins to be white.");
  ret->ptr[0].kind = EXPORTS_MILLRACE_PIPELINE_PLUGIN_SETTING_KIND_INTEGER;
  ret->ptr[0].default_.is_some = true;
  preprocessor_string_dup(&ret->ptr[0].default_.val, "128");
  ret->ptr[0].schema.is_some = true;
  preprocessor_string_dup(&ret->ptr[0].schema.val, "{\"minimum\": 0, \"maximum\": 255}");
}

// `false` is an error, whose text goes to whoever wrote the settings.
bool exports_millrace_pipeline_plugin_configure(preprocessor_string_t *settings, preprocessor_string_t *err) {
  char *json = strndup((const char *)settings->ptr, settings->len);
  if (json == NULL)
    abort();
  threshold = settings_integer(json, "threshold", 128);
  free(json);
  preprocessor_string_free(settings);
  if (threshold < 0 || threshold > 255) {
    preprocessor_string_dup(err, "`threshold` is not between 0 and 255");
    return false;
  }
  return true;
}

static bool reject(exports_millrace_pipeline_preprocess_refusal_t *err, const char *why) {
  err->tag = MILLRACE_PIPELINE_TYPES_REFUSAL_REJECT;
  preprocessor_string_dup(&err->val.reject, why);
  return false;
}

bool exports_millrace_pipeline_preprocess_preprocess(
    exports_millrace_pipeline_preprocess_borrow_message_t message,
    exports_millrace_pipeline_preprocess_tensor_type_t *wants,
    exports_millrace_pipeline_preprocess_tensor_t *ret,
    exports_millrace_pipeline_preprocess_refusal_t *err) {
  if (wants->shape.len != 3 || wants->element != MILLRACE_PIPELINE_TYPES_ELEMENT_BYTE)
    return reject(err, "the model does not take pictures of bytes");
  size_t channels = wants->shape.ptr[0];
  size_t pixels = (size_t)wants->shape.ptr[1] * wants->shape.ptr[2];

  preprocessor_list_u8_t body;
  millrace_pipeline_types_method_message_body(message, &body);
  if (body.len != pixels * 3) {
#ifdef WITH_A_BUG
    abort();
#endif
    preprocessor_list_u8_free(&body);
    return reject(err, "the body is not raw RGB of the size that the model takes");
  }

  uint8_t *planes = allocate(channels * pixels, 1);
  for (size_t pixel = 0; pixel < pixels; pixel++) {
    const uint8_t *rgb = body.ptr + pixel * 3;
    uint32_t grey = (299 * rgb[0] + 587 * rgb[1] + 114 * rgb[2]) / 1000;
    uint8_t value = grey >= (uint32_t)threshold ? 255 : 0;
    for (size_t channel = 0; channel < channels; channel++)
      planes[channel * pixels + pixel] = value;
  }
  preprocessor_list_u8_free(&body);

  // What `wants` holds is this function's, so its shape can be handed on.
  ret->shape = wants->shape;
  ret->data.tag = MILLRACE_PIPELINE_TYPES_TENSOR_DATA_BYTES;
  ret->data.val.bytes = (preprocessor_list_u8_t){.ptr = planes, .len = channels * pixels};
  return true;
}
