#pragma once
// Everything that is remembered between sessions, in one table.

#include <QSettings>
#include <QString>
#include <QStringList>
#include <QVariant>
#include <memory>
#include <span>

namespace fovea::gui {

struct SettingRow {
  const char* key;
  QVariant fallback;
  const char* meaning;
};
std::span<const SettingRow> setting_table();

class Settings {
 public:
  /// The user's own settings file.
  Settings();
  /// One at a place of its own (tests, screenshots).
  explicit Settings(const QString& file);

  /// A stored value whose type is not the table's counts as absent. Precondition: the table has
  /// this key.
  QVariant get(const char* key) const;
  void set(const char* key, const QVariant& value);

  /// Puts `entry` first in a list of recent things, each once, at most ten.
  void remember(const char* key, const QString& entry);

 private:
  std::unique_ptr<QSettings> store_;
};

}  // namespace fovea::gui
