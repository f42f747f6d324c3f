#include "gui/keys_page.h"

#include <QKeySequence>
#include <QTextBrowser>
#include <QVBoxLayout>

#include "gui/actions.h"

namespace fovea::gui {
namespace {

QString row(const QString& keys, const QString& meaning) {
  return QStringLiteral("<tr><td style='padding:2px 18px 2px 0'><b>%1</b></td><td>%2</td></tr>")
      .arg(keys.toHtmlEscaped(), meaning.toHtmlEscaped());
}

QString native_keys(const char* keys) {
  QStringList native;
  const QStringList written = QString::fromLatin1(keys).split(QStringLiteral(" | "));
  for (const QString& key : written) {
    native << QKeySequence(key).toString(QKeySequence::NativeText);
  }
  return native.join(QStringLiteral("  "));
}

QString page() {
  QString html, menu;
  for (const ActionRow& action : action_table()) {
    if (*action.keys == '\0') continue;
    const QString name = QString::fromLatin1(action.menu);
    if (name != menu) {
      if (!menu.isEmpty()) html += QStringLiteral("</table>");
      menu = name;
      html += QStringLiteral("<h3>%1</h3><table>").arg(QObject::tr(action.menu).toHtmlEscaped());
    }
    html += row(native_keys(action.keys), QObject::tr(action.tip));
  }
  html += QStringLiteral("</table><h3>%1</h3><table>").arg(QObject::tr("On picture and words"));
  for (const KeyRow& key : key_table()) {
    html += row(QString::fromUtf8(key.keys), QObject::tr(key.meaning));
  }
  return html + QStringLiteral("</table>");
}

}  // namespace

KeysPage::KeysPage(QWidget* parent) : QDialog(parent) {
  setWindowTitle(tr("Keys"));
  setAttribute(Qt::WA_DeleteOnClose);
  auto* text = new QTextBrowser;
  text->setHtml(page());
  text->setFrameShape(QFrame::NoFrame);
  auto* column = new QVBoxLayout(this);
  column->addWidget(text);
  resize(560, 620);
}

}  // namespace fovea::gui
