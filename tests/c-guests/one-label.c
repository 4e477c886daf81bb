// A router: results with one label go to one destination, all others to another.
#include "router.h"
#include "settings.h"

enum { LABEL, MATCHING, OTHERS, N_SETTINGS };

static const char *const names[N_SETTINGS] = {"label", "matching", "others"};
static const char *const helps[N_SETTINGS] = {
    "The label that has a destination of its own.",
    "The destination of results with that label.",
    "The destination of all others.",
};
// In JSON; NULL where the setting is required.
static const char *const defaults[N_SETTINGS] = {NULL, "\"matching\"", "\"others\""};
static const char *const otherwise[N_SETTINGS] = {"", "matching", "others"};
static char *values[N_SETTINGS];

static void *allocate(size_t count, size_t size) {
  void *memory = calloc(count, size);
  if (memory == NULL)
    abort();
  return memory;
}

void exports_millrace_pipeline_plugin_settings(exports_millrace_pipeline_plugin_list_setting_t *ret) {
  ret->len = N_SETTINGS;
  ret->ptr = allocate(ret->len, sizeof *ret->ptr);
  for (size_t i = 0; i < N_SETTINGS; i++) {
    exports_millrace_pipeline_plugin_setting_t *setting = &ret->ptr[i];
    router_string_dup(&setting->name, names[i]);
    router_string_dup(&setting->help, helps[i]);
    setting->kind = EXPORTS_MILLRACE_PIPELINE_PLUGIN_SETTING_KIND_TEXT;
    setting->required = defaults[i] == NULL;
    setting->default_.is_some = defaults[i] != NULL;
    if (defaults[i] != NULL)
      router_string_dup(&setting->default_.val, defaults[i]);
  }
}

bool exports_millrace_pipeline_plugin_configure(router_string_t *settings, router_string_t *err) {
  char *json = strndup((const char *)settings->ptr, settings->len);
  if (json == NULL)
    abort();
  bool good = true;
  for (size_t i = 0; i < N_SETTINGS && good; i++) {
    values[i] = settings_text(json, names[i], otherwise[i]);
    good = values[i] != NULL;
  }
  free(json);
  router_string_free(settings);
  if (!good)
    router_string_dup(err, "a setting holds a character that this plugin does not read");
  return good;
}

bool exports_millrace_pipeline_route_route(
    exports_millrace_pipeline_route_borrow_message_t message,
    exports_millrace_pipeline_route_borrow_prediction_t prediction,
    exports_millrace_pipeline_route_list_outbound_t *ret,
    exports_millrace_pipeline_route_refusal_t *err) {
  (void)message;
  millrace_pipeline_types_list_score_t top;
  millrace_pipeline_types_method_prediction_top(prediction, 1, &top);
  if (top.len == 0) {
    err->tag = MILLRACE_PIPELINE_TYPES_REFUSAL_REJECT;
    router_string_dup(&err->val.reject, "the model is no classifier");
    return false;
  }
  router_string_t best = top.ptr[0].label;
  bool matches = best.len == strlen(values[LABEL]) && memcmp(best.ptr, values[LABEL], best.len) == 0;

  ret->len = 1;
  ret->ptr = allocate(ret->len, sizeof *ret->ptr);
  router_string_dup(&ret->ptr[0].destination, values[matches ? MATCHING : OTHERS]);
  ret->ptr[0].body.len = best.len;
  ret->ptr[0].body.ptr = allocate(best.len + 1, 1);
  memcpy(ret->ptr[0].body.ptr, best.ptr, best.len);
  ret->ptr[0].content_type.is_some = true;
  router_string_dup(&ret->ptr[0].content_type.val, "text/plain");
  millrace_pipeline_types_list_score_free(&top);
  return true;
}
