#include "gui/settings.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace fovea::gui {
namespace {

constexpr int kRecent = 10;

const SettingRow& row_of(const char* key) {
  const auto table = setting_table();
  const auto found = std::find_if(table.begin(), table.end(), [key](const SettingRow& row) {
    return std::strcmp(row.key, key) == 0;
  });
  Q_ASSERT(found != table.end());
  return *found;
}

}  // namespace

std::span<const SettingRow> setting_table() {
  static const std::vector<SettingRow> table{
      {"window/geometry", QByteArray(), "size and place of the window"},
      {"window/docks", QByteArray(), "which panels are open, and where"},
      {"window/appearance", QString("system"), "system, light or dark"},
      {"session/files", QStringList(), "pictures that were open"},
      {"session/index", 0, "the one looked at"},
      {"session/question", QString(), "the question that was being written"},
      {"recent/pictures", QStringList(), "pictures and folders opened before"},
      {"recent/models", QStringList(), "model folders used before"},
      {"recent/guides", QStringList(), "folders of guides used before"},
      {"recent/questions", QStringList(), "questions asked before"},
      {"recent/export_folder", QString(), "where something was exported last"},
      {"recent/export_kind", QString("view"), "view, overlay, map or heads"},
      {"model/folder", QString(), "model folder; empty: the bundled one"},
      {"model/guide", QString(),
       "folder of the model that sgl asks first; empty: the bundled one's"},
      {"model/device", QString("auto"), "auto, cpu, cuda or cuda:N"},
      {"model/dtype", QString("auto"), "auto, f32, bf16 or (on a GPU) f16"},
      {"model/threads", 0, "0: every core"},
      {"ask/method", QString(), "pruning method; empty: none"},
      {"ask/preset", QString(), "its preset; empty: the default"},
      {"ask/budget", 0.0, "visual tokens entering each layer on average; 0: as the preset says"},
      {"ask/debias", 0.0, "how strongly scores are debiased by their place (sigma); 0: not"},
      {"ask/ignore_padding", false, "scores of padding do not count"},
      {"ask/tower", QString("whole"), "in the vision tower: whole, topk, random, tome or adaptive"},
      {"ask/tower_share", 0.5, "share of the patches that this leaves"},
      {"ask/tower_thresholds", QStringList(),
       "or, adaptive, the scores from 0 to 1 that they must exceed at its cuts"},
      {"ask/exit_threshold", -1.0,
       "sgl takes the guide's answer where it is surer than this; negative: never"},
      {"ask/exit_by", QString("score"), "what is held against it: score or confidence"},
      {"ask/against", QString("unpruned"),
       "what a comparison puts beside an answer: unpruned, biased (the method not debiased) or "
       "guide "
       "(the guide's own answer)"},
      {"ask/max_new_tokens", 128, "longest answer, in tokens"},
      {"ask/follow_up", false, "questions go on after the answers before"},
      {"ask/compare", false, "every question is asked for a comparison, too"},
      {"look/color_map", QString("inferno"), "viridis, inferno, turbo or gray"},
      {"look/opacity", 0.8, "of the map where it is strongest"},
      {"look/reversed", false, "the other end of the colours stands for high values"},
      {"look/fade", false, "low values are transparent, else they darken the picture"},
      {"look/lift", true, "colours follow the square root of the value"},
      {"look/smooth", true, "bilinear between patches, else flat"},
      {"look/range", QString("shared"), "shared, own or clipped"},
  };
  return table;
}

Settings::Settings()
    : store_(std::make_unique<QSettings>(QStringLiteral("fovea"), QStringLiteral("fovea-gui"))) {}

Settings::Settings(const QString& file)
    : store_(std::make_unique<QSettings>(file, QSettings::IniFormat)) {}

QVariant Settings::get(const char* key) const {
  const SettingRow& row = row_of(key);
  QVariant value = store_->value(QString::fromLatin1(key), row.fallback);
  // INI files hold text: it must read as the type that the table names.
  if (!value.convert(row.fallback.metaType())) return row.fallback;
  return value;
}

void Settings::set(const char* key, const QVariant& value) {
  row_of(key);
  store_->setValue(QString::fromLatin1(key), value);
}

void Settings::remember(const char* key, const QString& entry) {
  QStringList list = get(key).toStringList();
  list.removeAll(entry);
  list.prepend(entry);
  set(key, QStringList(list.mid(0, kRecent)));
}

}  // namespace fovea::gui
