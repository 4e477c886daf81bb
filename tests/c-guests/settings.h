// Reads one value out of the JSON object that `configure` is given. Knows no plugin.
//
// The host has checked the settings against what the plugin declares: unknown names, other kinds and
// required names that are missing never get here. So what is left is to find a value.
#ifndef SETTINGS_H
#define SETTINGS_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const char *settings_skip_space(const char *at) {
  return at + strspn(at, " \t\r\n");
}

// Behind a string that begins at a quotation mark.
static const char *settings_skip_string(const char *at) {
  for (at++; *at != '\0' && *at != '"'; at++)
    if (*at == '\\' && at[1] != '\0')
      at++;
  return *at == '"' ? at + 1 : at;
}

// Behind any value: at the comma or brace that follows it.
static const char *settings_skip_value(const char *at) {
  int depth = 0;
  while (*at != '\0') {
    if (*at == '"') {
      at = settings_skip_string(at);
      continue;
    }
    if (depth == 0 && (*at == ',' || *at == '}'))
      return at;
    if (*at == '{' || *at == '[')
      depth++;
    if (*at == '}' || *at == ']')
      depth--;
    at++;
  }
  return at;
}

// Where the value of a name begins; NULL when the object has no such name.
static const char *settings_find(const char *json, const char *name) {
  size_t length = strlen(name);
  const char *at = settings_skip_space(json);
  while (*at == '{' || *at == ',') {
    const char *key = settings_skip_space(at + 1);
    if (*key != '"')
      return NULL;
    const char *end = settings_skip_string(key);
    bool found = (size_t)(end - key) == length + 2 && strncmp(key + 1, name, length) == 0;
    at = settings_skip_space(end);
    if (*at != ':')
      return NULL;
    at = settings_skip_space(at + 1);
    if (found)
      return at;
    at = settings_skip_value(at);
  }
  return NULL;
}

// An integer, or what holds where the name is left out.
static inline long settings_integer(const char *json, const char *name, long otherwise) {
  const char *at = settings_find(json, name);
  return at == NULL ? otherwise : strtol(at, NULL, 10);
}

// A text on the heap, or a copy of what holds where the name is left out; NULL where it has an escape
// that is more than a character with a backslash before it.
static inline char *settings_text(const char *json, const char *name, const char *otherwise) {
  const char *at = settings_find(json, name);
  if (at == NULL || *at != '"')
    return strdup(otherwise);
  char *text = malloc(strlen(at) + 1);
  if (text == NULL)
    abort();
  size_t length = 0;
  for (at++; *at != '\0' && *at != '"'; at++) {
    if (*at == '\\' && strchr("\"\\/", *++at) == NULL) {
      free(text);
      return NULL;
    }
    text[length++] = *at;
  }
  text[length] = '\0';
  return text;
}

#endif
