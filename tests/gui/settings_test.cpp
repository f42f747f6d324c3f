#include "gui/settings.h"

#include <gtest/gtest.h>

#include <QTemporaryDir>
#include <set>

namespace fovea::gui {
namespace {

TEST(Settings, absent_and_damaged_values_read_as_the_tables) {
  const QTemporaryDir folder;
  const QString file = folder.filePath("s.ini");
  {
    QSettings raw(file, QSettings::IniFormat);
    raw.setValue("ask/budget", "many");
    raw.setValue("session/index", QStringList{"a", "b"});
  }
  const Settings settings(file);
  EXPECT_EQ(settings.get("ask/budget").toDouble(), 0);
  EXPECT_EQ(settings.get("session/index").toInt(), 0);
  EXPECT_EQ(settings.get("look/range").toString(), "shared");
}

TEST(Settings, what_is_set_is_there_again_with_its_type) {
  const QTemporaryDir folder;
  const QString file = folder.filePath("s.ini");
  {
    Settings settings(file);
    settings.set("ask/compare", true);
    settings.set("look/opacity", 0.25);
    settings.set("session/files", QStringList{"/a b.png", "/c.png"});
  }
  const Settings settings(file);
  EXPECT_TRUE(settings.get("ask/compare").toBool());
  EXPECT_EQ(settings.get("look/opacity").toDouble(), 0.25);
  EXPECT_EQ(settings.get("session/files").toStringList(), QStringList({"/a b.png", "/c.png"}));
}

TEST(Settings, recent_things_come_first_once_and_at_most_ten) {
  const QTemporaryDir folder;
  Settings settings(folder.filePath("s.ini"));
  for (int i = 0; i < 12; ++i) settings.remember("recent/questions", QString::number(i));
  settings.remember("recent/questions", "5");
  const QStringList recent = settings.get("recent/questions").toStringList();
  EXPECT_EQ(recent.size(), 10);
  EXPECT_EQ(recent.front(), "5");
  EXPECT_EQ(recent.count("5"), 1);
}

TEST(Settings, every_key_is_in_the_table_once) {
  std::set<QString> keys;
  for (const SettingRow& row : setting_table()) {
    EXPECT_TRUE(keys.insert(QString::fromLatin1(row.key)).second) << row.key;
  }
}

}  // namespace
}  // namespace fovea::gui
